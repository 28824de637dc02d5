"use strict";
(() => {
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const svg = document.getElementById("map-points");
  const dots = [...svg.querySelectorAll(".dots circle")];
  const places = dots.map((dot) => [dot.cx.baseVal.value, dot.cy.baseVal.value]);
  const ring = svg.querySelector(".ring");
  const kin = svg.querySelector(".kin");
  const legend = document.getElementById("map-legend");
  const shown = document.getElementById("map-shown");
  const thumbnail = shown.querySelector("span");
  const words = shown.querySelector("p");
  const family = new Map(data.origins.flatMap((members) => members.map((dot) => [dot, members])));
  const far = 30;
  let current = -1;

  const color = (view) => {
    dots.forEach((dot, number) => dot.setAttribute("class", view.legend[view.values[number]][0]));
    legend.replaceChildren(...view.legend.map(([style, meaning]) => {
      const entry = document.createElement("span");
      const key = document.createElement("i");
      key.className = style;
      entry.append(key, meaning);
      return entry;
    }));
  };

  const show = (number) => {
    if (number === current) return;
    current = number;
    ring.toggleAttribute("hidden", number < 0);
    kin.setAttribute("d", "");
    shown.hidden = number < 0;
    if (number < 0) return;
    const [x, y] = places[number];
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    const members = family.get(number) || [];
    kin.setAttribute("d", members.map((other) => `M${x},${y}L${places[other]}`).join(""));
    const side = thumbnail.clientWidth;
    thumbnail.style.backgroundSize = `${data.columns * side}px auto`;
    thumbnail.style.backgroundPosition =
      `${-(number % data.columns) * side}px ${-Math.floor(number / data.columns) * side}px`;
    const said = data.views.map((view) => `${view.name}: ${view.legend[view.values[number]][1]}`);
    if (members.length) said.push(`${members.length} pictures of one origin`);
    if (data.notes[number]) said.push(data.notes[number]);
    const name = document.createElement("b");
    name.textContent = data.files[number];
    words.replaceChildren(name, ...said.flatMap((line) => [document.createElement("br"), line]));
  };

  const nearest = ([x, y], allowed) => {
    let best = -1;
    let least = Infinity;
    places.forEach(([a, b], number) => {
      const distance = allowed(a - x, b - y, number);
      if (distance < least) [best, least] = [number, distance];
    });
    return best;
  };

  const hover = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    show(nearest([at.x, at.y], (a, b) => (Math.hypot(a, b) < far ? Math.hypot(a, b) : Infinity)));
  };

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const step = (event) => {
    if (event.key === "Escape") show(-1);
    const arrow = arrows[event.key];
    if (!arrow) return;
    event.preventDefault();
    const here = places[Math.max(current, 0)];
    const next = nearest(here, (a, b, number) => {
      const along = a * arrow[0] + b * arrow[1];
      const across = Math.abs(a * arrow[1] + b * arrow[0]);
      return number !== current && along > 0 ? along + 2 * across : Infinity;
    });
    show(next < 0 ? Math.max(current, 0) : next);
  };

  const choices = document.getElementById("map-choices");
  data.views.forEach((view, number) => {
    const label = document.createElement("label");
    const button = document.createElement("input");
    Object.assign(button, { type: "radio", name: "map-view", checked: !number });
    button.addEventListener("change", () => color(view));
    label.append(button, view.name);
    choices.append(label);
  });
  choices.hidden = false;
  thumbnail.style.backgroundImage = `url("${data.sprite}")`;
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("pointermove", hover);
  svg.addEventListener("pointerdown", hover);
  svg.addEventListener("keydown", step);
  svg.addEventListener("focus", () => show(Math.max(current, 0)));
})();
