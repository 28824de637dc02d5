"use strict";

const RETRIES = 20; // of an upload that found no place
const MOST_BARS = 12;
const PIXELS = 2 ** 21; // of the grey picture that is drawn

const get = (id) => document.getElementById(id);
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const fine = (share) => share < 0.001 ? `${Number((100 * share).toPrecision(1))} %` : percent(share);
// four digits, and as many more as numbers so far apart need
const digits = (number, spread) => spread > 0 && number ? Math.ceil(Math.log10(Math.abs(number) / spread)) + 1 : 0;
const short = (number, spread = 0) => String(Number(number.toPrecision(Math.min(Math.max(digits(number, spread), 4), 9))));
const margin = (found) => found.low == null ? 0 : (found.high - found.low) / 2;

let facts = {};
let ready = false;
let current = 0; // number of the last upload: answers for earlier ones are not shown

function say(text, { problem = false, busy = false } = {}) {
  const status = get("status");
  status.classList.toggle("problem", problem);
  const dots = document.createElement("span");
  dots.className = "dots";
  dots.ariaHidden = "true";
  status.replaceChildren(...(busy ? [dots] : []), text);
}

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

/** Send a file or a text; wait while the server has no place for it. Throws an Error with its message. */
async function send(path, body) {
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(path, { method: "POST", body }).catch(() => {
      throw new Error("The server does not answer. Does `lamina serve` still run?");
    });
    if (answer.ok) return answer;
    if (answer.status !== 503 || attempt === RETRIES) {
      const found = await answer.json().catch(() => ({}));
      throw new Error(found.error ?? `The server answered ${answer.status}`);
    }
    await pause(Number(answer.headers.get("Retry-After")) || 1);
  }
}

function hideAnswers() {
  for (const id of ["answer", "near", "colored"]) get(id).hidden = true;
}

async function ask(body, name) {
  if (!ready) return;
  if (body.size > facts.upload * 2 ** 20) {
    say(`${name} has more than ${facts.upload} MiB; choose a smaller file`, { problem: true });
    return;
  }
  const number = ++current;
  say(`Looking at ${name}`, { busy: true });
  try {
    const answer = await send("predict", body);
    const shown = facts.kind === "colors" ? await answer.blob() : await answer.json();
    if (number !== current) return;
    hideAnswers();
    if (facts.kind === "colors") await showColored(shown);
    else showAnswer(shown);
    say(name);
    if (facts.kind !== "colors" && facts.takes !== "text") {
      const more = await (await send("explain", body)).json();
      if (number === current) showMore(more);
    }
  } catch (error) {
    if (number !== current) return;
    hideAnswers();
    say(`${name}: ${error.message}`, { problem: true });
  }
}

function showAnswer(found) {
  const ordered = Object.entries(found.probabilities ?? {}).sort((one, other) => other[1] - one[1]);
  const given = [found.predicted ?? []].flat();
  get("predicted").textContent = facts.kind === "number" ? short(found.predicted, margin(found)) : given.join(", ") || "no label";
  get("classes").replaceChildren(...ordered.slice(0, MOST_BARS).map(([name, share]) => {
    const bar = element("i");
    bar.style.width = `${100 * share}%`;
    return element("li", { className: given.includes(name) ? "given" : "" }, element("button", { type: "button", disabled: true },
      element("span", { className: "class", textContent: name }),
      element("span", { className: "share", textContent: facts.kind === "labels" ? fine(share) : percent(share) }),
      element("span", { className: "bar" }, bar, ...threshold(name))));
  }));
  get("doubt").textContent = inDoubt(found);
  const hidden = ordered.length - MOST_BARS;
  get("hint").textContent = hidden > 0 ? `and ${hidden} more ${facts.kind === "labels" ? "labels" : "classes"}` : "";
  get("shown").hidden = facts.takes === "text";
  get("seen").removeAttribute("src");
  get("caption").textContent = "";
  get("answer").hidden = false;
}

/** A line in the bar of a label, where its threshold is. */
function threshold(name) {
  if (facts.kind !== "labels") return [];
  const line = element("b");
  line.style.left = `${100 * (facts.thresholds?.[name] ?? 0.5)}%`;
  return [line];
}

/** Say how far the answer can be trusted, where the run's evaluation knows. */
function inDoubt(found) {
  const share = facts.coverage == null ? "" : ` (right for ${(100 * facts.coverage).toFixed(0)} % of new pictures)`;
  if (facts.kind === "labels") {
    return facts.thresholds ? "A label is given (✓) if its bar reaches the line: the threshold that suits it best."
      : "Not evaluated: a label is given (✓) from 50 % on.";
  }
  if (facts.kind === "number") {
    return found.low == null ? "How far it may be off is not known." : `${short(found.low, margin(found))} to ${short(found.high, margin(found))}${share}`;
  }
  if (!found.scaled) return "";
  if (found.outlier) return "Unlike the training pictures: this answer may mean nothing.";
  const rate = percent(found.scaled[found.predicted]);
  if (found.set.length === 0) return `Calibrated: ${rate}. No class is likely enough: look yourself.`;
  return `Calibrated: ${rate}. One of${share}: ${found.set.slice(0, MOST_BARS).join(", ")}.`;
}

/** Add the picture as the network sees it, what supports the likeliest classes, and the nearest training pictures. */
function showMore(more) {
  const buttons = [...get("classes").querySelectorAll("button")];
  const show = (pressed) => {
    for (const button of buttons) if (!button.disabled) button.ariaPressed = String(button === pressed);
    const name = pressed?.querySelector(".class").textContent;
    get("seen").src = pressed ? more.supports[name] : more.seen;
    get("seen").alt = pressed ? `Your picture; bright places support ${name}` : "Your picture, as the network sees it";
    get("caption").textContent = pressed
      ? `Bright places support ${name}${more.method === "occlusion" ? " (occlusion)" : ""}.`
      : "Your picture, as the network sees it.";
  };
  for (const button of buttons) {
    button.disabled = !(button.querySelector(".class").textContent in more.supports);
    button.onclick = () => show(button.ariaPressed === "true" ? null : button);
  }
  if (Object.keys(more.supports).length) get("hint").append(` Choose a ${facts.kind === "labels" ? "label" : "class"} to see which places of the picture support it.`);
  show(null);
  get("neighbors").replaceChildren(...more.nearest.map(({ picture, label }) => element("li", {},
    element("img", { src: picture, alt: label ? `Training picture of ${label}` : "Training picture" }), element("span", { textContent: label }))));
  get("near-note").textContent = {
    waiting: "The training pictures are still being compared; send the picture again in a while.",
    missing: "The training pictures are not on this machine.",
  }[more.training_pictures] ?? `Nearest of ${more.training_pictures} training pictures, by what the network sees in them.`;
  get("near").hidden = false;
}

async function showColored(blob) {
  URL.revokeObjectURL(get("after").src);
  const address = URL.createObjectURL(blob);
  get("after").src = get("save").href = address;
  await get("after").decode();
  drawGrey(get("after"), get("before"));
  get("colored").hidden = false;
}

/** Draw the luminance of a picture, which coloring does not change: the picture as the network saw it. */
function drawGrey(picture, canvas) {
  const scale = Math.min(1, Math.sqrt(PIXELS / (picture.naturalWidth * picture.naturalHeight)));
  canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const drawn = context.getImageData(0, 0, canvas.width, canvas.height);
  const light = Float32Array.from({ length: 256 }, (_, code) =>
    code <= 10 ? code / 255 / 12.92 : ((code / 255 + 0.055) / 1.055) ** 2.4);
  for (let place = 0; place < drawn.data.length; place += 4) {
    const [red, green, blue] = drawn.data.subarray(place, place + 3);
    const luminance = 0.2126 * light[red] + 0.7152 * light[green] + 0.0722 * light[blue];
    const code = luminance <= 0.0031308 ? 12.92 * luminance : 1.055 * luminance ** (1 / 2.4) - 0.055;
    drawn.data.fill(255 * code, place, place + 3);
  }
  context.putImageData(drawn, 0, 0);
}

function takeFiles(files) {
  if (files?.length) ask(files[0], files[0].name);
}

function listen() {
  get("file").addEventListener("change", (event) => {
    takeFiles(event.target.files);
    event.target.value = ""; // the same file may be chosen again
  });
  const takesFiles = (event) => [...event.dataTransfer.types].includes("Files");
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!takesFiles(event)) return;
      event.preventDefault(); // otherwise the browser leaves this page and opens the file
      get("picture").classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop" && facts.takes !== "text") takeFiles(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => facts.takes !== "text" && takeFiles(event.clipboardData.files));
  get("writing").addEventListener("submit", (event) => {
    event.preventDefault();
    ask(new Blob([get("text").value], { type: "text/plain" }), "your text");
  });
  get("cut").addEventListener("input", (event) => {
    document.querySelector(".compare").style.setProperty("--cut", `${event.target.value}%`);
  });
}

function introduce() {
  document.title = `${facts.run} - ${facts.system}`;
  get("system").textContent = facts.system;
  get("run").textContent = facts.run;
  document.body.dataset.kind = facts.kind;
  get("about").textContent = inOneSentence();
  get(facts.takes === "text" ? "writing" : "picture").hidden = false;
}

/** Say what the run does, and how well it did on its test pictures. */
function inOneSentence() {
  const within = (shown) => facts.interval ? ` (95 % interval ${facts.interval.map(shown).join(" to ")})` : "";
  const names = facts.classes.slice(0, MOST_BARS).join(", ") + (facts.classes.length > MOST_BARS ? ", ..." : "");
  const items = `${facts.tested} test ${facts.takes === "text" ? "texts" : "pictures"}`;
  const whole = (share) => (100 * share).toFixed(0);
  if (facts.kind === "colors") return "Gives color to grey pictures. The colors are likely ones, not the true ones.";
  if (facts.kind === "labels") {
    return `Gives any of ${facts.classes.length} labels: ${names}.` + (facts.f1 == null ? "" :
      ` On ${items} its F1 was ${facts.f1.toFixed(2)}${within((end) => end.toFixed(2))}; 1: all labels right.`);
  }
  if (facts.kind === "number") {
    return `Predicts the number ${facts.target}.` + (facts.mae == null ? "" :
      ` On ${items} it was off by ${short(facts.mae)} on average${within(short)}` +
      (facts.baseline == null ? "." : `; always saying the mean: by ${short(facts.baseline)}.`));
  }
  return `Tells ${facts.classes.length} classes apart: ${names}.` + (facts.accuracy == null ? "" :
    ` It was right for ${whole(facts.accuracy)} % of ${items}${within(whole)}.`);
}

async function start() {
  listen();
  facts = await (await fetch("about")).json();
  introduce();
  say("Loading the model", { busy: true });
  for (;;) {
    const health = await (await fetch("health")).json();
    if (health.status === "failed") throw new Error(health.error);
    if (health.status === "ready") break;
    await pause(0.3);
  }
  ready = true;
  get("file").disabled = get("writing").querySelector("button").disabled = false;
  say("Ready");
}

start().catch((error) => say(error.message, { problem: true }));
