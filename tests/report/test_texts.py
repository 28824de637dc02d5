"""The page of a system of texts: its data, its runs, and what it says of them."""

import html
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from finished import write_params
from lamina.commands.data_card import data_card
from lamina.config import section
from lamina.data.rows import Folders
from lamina.data.texts import without_html
from lamina.errors import UserError
from lamina.files import write_json
from lamina.maths.crossvalidation import AgainConfig
from lamina.report.data_files import EXCERPT, read_texts
from lamina.report.page import texts_chapter
from lamina.stages.assess import assess_run
from lamina.stages.evaluate import evaluate
from lamina.stages.report import report
from lamina.stages.train import train
from lamina.stages.tune import TuneConfig, tune
from lamina.tasks.registry import TASKS
from lamina.training.callbacks import NoCallbacks
from pages import section as run_section
from pages import words
from systems import stage_of
from texts import DENSE, LOGISTIC, changed, disguised, opinions, sentence, words_system

RUNS = {"logistic": LOGISTIC, "dense": DENSE | {"epochs": 2}}
MARKED = "<script>alert('x')</script> & <b>bold</b>"
JOINED = 3
PARTS = 2
AGAIN = {"logistic": AgainConfig(repeats=1, folds=PARTS, control=True), "dense": AgainConfig(repeats=1)}


def texts_of_all_kinds() -> dict[str, str]:
    """Texts of two classes: some are long, some hold HTML, some are nearly the same, and two are equal."""
    texts = opinions(40)
    for number in range(12):
        texts[f"pos/odd-{number:02d}.txt"] = " ".join([*sentence(500 + number, 80), "great"])
        texts[f"neg/odd-{number:02d}.txt"] = " ".join([MARKED, *sentence(700 + number, 8), "awful"])
    for number in range(JOINED):
        longer = sentence(900 + number)
        texts[f"pos/first-{number}.txt"] = " ".join(longer)
        texts[f"pos/second-{number}.txt"] = disguised(changed(longer, 2))
    return texts | {"pos/same.txt": texts["pos/000.txt"]}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs as their stages leave them."""
    root = words_system(tmp_path_factory.mktemp("films"), texts_of_all_kinds(), parts=PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, settings in RUNS.items():
            stage = stage_of(settings, name=name)
            tune(stage, section(stage.params, "tune", TuneConfig))
            train(stage, NoCallbacks())
            evaluate(Folders(), stage.out)
            assess_run(stage, AGAIN[name], validation=0.2)
    return root


@pytest.fixture
def copied(system: Path, tmp_path: Path) -> Path:
    """The system, to be changed."""
    return Path(shutil.copytree(system, tmp_path / "system"))


def page_of(system: Path, out: Path) -> str:
    runs = dict.fromkeys(RUNS, TASKS["classify"])
    return report(runs, system, out, content="texts").page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(system: Path) -> str:
    return page_of(system, system / "reports")


def chapter(system: Path) -> str:
    return str(texts_chapter(read_texts(system)).body)


# ---- the page


def test_a_page_about_texts_speaks_of_texts_and_never_of_pictures(page: str) -> None:
    text = words(page)
    assert re.search(r"110 texts of 2 classes, 2 runs\. Best at classes: ", text)
    assert "test text" in text
    markup = re.sub(r'<style>.*?</style>|src="data:[^"]*"', "", page, flags=re.DOTALL)
    assert not re.findall(r".{0,40}(?:picture|image|pixel).{0,40}", markup, flags=re.IGNORECASE)


def test_the_card_of_the_data_speaks_of_texts(copied: Path) -> None:
    write_params(copied, RUNS, source={"content": "texts", "kind": "folder", "location": "films"})
    card = data_card(copied)
    assert f"{JOINED} pairs of texts with different origins were nearly the same" in card
    assert "| duplicate | 1 | the same text as another, but for case and white space |" in card
    assert not re.findall(r"picture|augment|copies|bytes", card)


def test_links_lead_somewhere_and_the_same_input_gives_the_same_page(system: Path, page: str, tmp_path: Path) -> None:
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert page_of(system, tmp_path) == page


# ---- runs


def test_curves_are_left_out_where_there_is_a_single_epoch(page: str) -> None:
    linear, dense = run_section(page, "logistic"), run_section(page, "dense")
    assert "<h3>Training</h3>" not in linear
    assert "<h3>Training</h3>" in dense
    assert dense.count("<svg ") == linear.count("<svg ") + 2


def test_words_that_count_are_shown(page: str) -> None:
    for name in RUNS:
        shown = run_section(page, name)
        assert f"words that {name} counts most for each class" in shown
        assert "What it looked at" not in shown


def test_mistakes_are_quoted_and_cut_and_their_html_is_escaped(copied: Path) -> None:
    path, kept = copied / "models/logistic/predictions.parquet", copied / "data/filtered/kept.parquet"
    predictions = pd.read_parquet(path)
    odd = predictions["id"].map(pd.read_parquet(kept).set_index("id")["name"]).str.contains("odd")
    predictions.loc[odd, "predicted"] = predictions.loc[odd, "label"].map({"neg": "pos", "pos": "neg"})
    predictions.to_parquet(path)
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    page = page_of(copied, copied / "reports")
    shown = run_section(page, "logistic")
    quoted = re.findall(r"<blockquote>(.*?)</blockquote>", shown, flags=re.DOTALL)
    assert len(quoted) == min(12, len(wrong)) >= 4
    assert f"{len(wrong)} test texts of {len(predictions)}" in words(shown)
    texts = {name: without_html(text) for name, text in texts_of_all_kinds().items()}
    names = re.findall(r'<span class="name" title="([^"]+)">', shown)
    assert len(names) == len(quoted)
    for name, quote in zip(names, quoted, strict=True):
        text = texts[name]
        assert html.unescape(quote) == (text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…")
    assert any(quote.endswith("…") for quote in quoted)
    assert any("&lt;script&gt;alert(" in quote and "&amp; bold" in quote for quote in quoted)
    assert "<script" not in page


def test_a_linear_run_has_no_spread_over_seeds(page: str) -> None:
    start = page.index("<caption>Every run trained again</caption>")
    rows = [words(row) for row in re.findall(r"<tr>.*?</tr>", page[start : page.index("</table>", start)], re.DOTALL)]
    found = {row.split()[0]: row for row in rows[1:]}
    assert found["logistic"].startswith("logistic \N{EN DASH}")
    assert re.match(r"dense \d+\.\d % .*1 training\b", found["dense"])
    assert "A run without a number does not depend on the seed." in words(page)


# ---- data


def test_texts_are_counted_by_reason_class_and_fold(system: Path) -> None:
    text = words(chapter(system))
    assert "Texts, and the origins they come from, per class and fold" in text
    assert "kept 110 rejected: duplicate 1 found 111" in text
    split = pd.read_parquet(system / "data/split/manifest.parquet")
    folds = ("train", "validation", "test")
    counts = [(split["fold"] == fold).sum() for fold in folds]
    origins = [split.loc[split["fold"] == fold, "origin"].nunique() for fold in folds]
    shown = [f"{n}" if n == of else f"{n} from {of}" for n, of in zip(counts, origins, strict=True)]
    assert f"all {' '.join(shown)}" in text


def test_joined_pairs_are_counted_and_named(system: Path) -> None:
    joined = pd.read_parquet(system / "data/split/joined.parquet")
    assert len(joined) >= JOINED
    text = words(chapter(system))
    assert f"{len(joined)} pairs of nearly the same text were joined into one origin" in text
    for number in range(JOINED):
        assert re.search(rf"pos/first-{number}\.txt pos/second-{number}\.txt [01]\.\d{{3}}", text)


def test_long_lists_of_pairs_are_cut(copied: Path) -> None:
    path = copied / "data/split/joined.parquet"
    joined = pd.read_parquet(path)
    pd.concat([joined] * 20).head(25).to_parquet(path)
    assert "Joined pairs; the first 24" in words(chapter(copied))
    joined.head(0).to_parquet(path)
    assert "Joined pairs" not in chapter(copied)


def test_audit_counts_and_suspicious_pairs_appear(copied: Path) -> None:
    path = copied / "data/split/summary.json"
    counted = json.loads(path.read_text())
    for count, words_of_it in ((0, "No test text is"), (1, "1 test text is"), (2, "2 test texts are")):
        write_json(path, counted | {"suspicious": count})
        text = words(chapter(copied))
        assert f"{words_of_it} like a text that was trained or tuned on" in text
        assert f"For {counted['compared']} test texts the nearest training or validation text was searched" in text
        assert f"pairs from {counted['suspicious_from']} on count as suspicious" in text
        audit, texts = pd.read_parquet(copied / "data/split/audit.parquet"), read_texts(copied)
        for place, pair in audit.head(3).iterrows():
            line = f"{texts.name(pair['id'])} {texts.name(pair['nearest'])} {pair['fold']} {pair['agreement']:.3f}"
            assert (line in text) is (int(str(place)) < count)


def test_data_docs_are_linked_where_they_are(copied: Path) -> None:
    assert "Data Docs" not in chapter(copied)
    docs = copied / "data/validation/docs/index.html"
    docs.parent.mkdir(parents=True)
    docs.write_text("docs")
    links = re.findall(r'href="([^"#:]+)">Data Docs', chapter(copied))
    assert [(copied / "reports" / link).resolve().read_text() for link in links] == ["docs"]


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("filtered/kept.parquet", "filter"),
        ("filtered/rejected.parquet", "filter"),
        ("split/manifest.parquet", "split"),
        ("split/joined.parquet", "split"),
        ("split/audit.parquet", "split"),
        ("split/summary.json", "split"),
    ],
)
def test_a_missing_file_is_named_with_the_stage_that_writes_it(copied: Path, file: str, stage: str) -> None:
    (copied / "data" / file).unlink()
    with pytest.raises(UserError, match=rf"{file}: not found.*dvc repro {stage}`") as caught:
        read_texts(copied)
    assert "\n" not in str(caught.value)


def test_a_text_that_is_not_there_is_named(system: Path) -> None:
    with pytest.raises(UserError, match="no text nothing, which a run was tested on; run `dvc repro`"):
        read_texts(system).shown("nothing")
