"""Overlays of params.yaml: merging, the rules of switching, and the text that stays around the changes."""

from itertools import pairwise
from typing import Any

import pytest
from ruamel.yaml import YAML

from checkout import ROOT
from lamina.commands.overlay import apply, check_overlays, differences, leaves, merge, read_overlay, rewrite
from lamina.errors import UserError

DEFAULT = (ROOT / "params.yaml").read_text()
QUICK = """# minutes
source: {pictures: 70}
features:
  random: {precision: bfloat16}
runs:
  tiny: &tiny
    task: classify
    epochs: &epochs 1   # one
    learning_rate: 3e-4
  frozen: {learning_rate: 1e-3}
  shared: {<<: *tiny, epochs: *epochs}
ensembles:
  both: {runs: [frozen, tiny]}
assess: {control: &no false, small_cnn: {control: true}, tiny: {folds: 2, control: *no}}
"""
FULL = """
source: {pictures: 600}
features:
  random: {precision: float32}
runs:
  shared: {task: classify, epochs: 100, learning_rate: 3e-4}
  frozen: {learning_rate: tune}
  large: {task: colorize}
assess: {control: true, small_cnn: {control: false}}
"""


def loaded(text: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(text)


def switched(text: str, overlays: dict[str, str], name: str) -> str:
    """The text after one of the overlays was applied."""
    read = {one: read_overlay(overlay) for one, overlay in overlays.items()}
    params = loaded(text)
    check_overlays(params, read, name)
    wanted = apply(params, read, name)
    result = rewrite(text, wanted, read[name])
    assert loaded(result) == wanted
    return result


def refusal(text: str, overlays: dict[str, str], name: str) -> str:
    with pytest.raises(UserError) as caught:
        switched(text, overlays, name)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- merging


@pytest.mark.parametrize(
    ("params", "overlay", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({}, {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}),
    ],
)
def test_mappings_are_merged_and_everything_else_is_replaced(
    params: dict[str, Any], overlay: dict[str, Any], merged: dict[str, Any]
) -> None:
    before = repr(params), repr(overlay)
    assert merge(params, overlay) == merged
    assert (repr(params), repr(overlay)) == before


def test_anchors_of_an_overlay_are_resolved_and_numbers_keep_their_spelling() -> None:
    overlay = read_overlay(QUICK)
    assert overlay == loaded(QUICK)
    text = switched(DEFAULT, {"quick": QUICK}, "quick")
    assert not any(sign in text for sign in ("&", "*tiny", "*epochs", "<<"))
    assert text.count("learning_rate: 3e-4") == 2


def test_an_empty_section_of_an_overlay_names_no_entry() -> None:
    assert read_overlay("runs:\nensembles:\nseed: 1\n") == {"seed": 1}


# ---- switching


def test_from_one_profile_to_another_and_back_gives_the_same_bytes() -> None:
    overlays = {"quick": QUICK, "full": FULL}
    full = switched(DEFAULT, overlays, "full")
    texts = [full, *(full := switched(full, overlays, name) for name in ("quick", "full", "quick", "full"))]
    assert texts[0] == texts[2] == texts[4]
    assert texts[1] == texts[3]
    added = [name for name in loaded(texts[1])["runs"] if name not in loaded(DEFAULT)["runs"]]
    assert added == ["tiny", "shared"]
    assert list(loaded(full)["runs"])[-2:] == ["shared", "large"]


def test_the_first_profile_restores_the_file_as_it_was() -> None:
    without = "\n".join(line for line in FULL.splitlines() if "shared" not in line and "large" not in line)
    overlays = {"quick": QUICK, "full": without}
    quick = switched(DEFAULT, overlays, "quick")
    assert quick != DEFAULT
    assert switched(quick, overlays, "full") == DEFAULT


def test_comments_and_what_does_not_change_stay_line_by_line() -> None:
    text = switched(DEFAULT, {"quick": QUICK}, "quick")
    gone = set(DEFAULT.splitlines()) - set(text.splitlines())
    assert {line.split(":")[0].strip() for line in gone} == {
        "pictures", "learning_rate", "ensembles", "control", "small_cnn"
    }  # fmt: skip
    assert [line for line in DEFAULT.splitlines() if line.lstrip().startswith("#")] == [
        line for line in text.splitlines() if line.lstrip().startswith("#")
    ]


def test_new_entries_come_before_the_comment_of_the_next_section() -> None:
    text = "runs:\n  a: {x: 1}\n\n# about ensembles\nensembles: {}  # none\n# the end\n"
    overlays = {"quick": "runs:\n  b:\n    x: 2\nensembles:\n  both:\n    runs: [a, b]\n", "full": "{}"}
    quick = switched(text, overlays, "quick")
    assert quick.startswith("runs:\n  a: {x: 1}\n  b:\n    x: 2\n\n# about ensembles\nensembles:")
    assert quick.endswith("# none\n  both:\n    runs: [a, b]\n# the end\n")
    assert switched(quick, overlays, "full") == text


def test_a_section_that_is_missing_is_added_and_an_emptied_one_is_written_on_one_line() -> None:
    quick = switched("seed: 1\n", {"quick": "runs:\n  a: {x: 1}\n", "full": "{}"}, "quick")
    assert quick == "seed: 1\nruns:\n  a: {x: 1}\n"
    assert switched(quick, {"quick": "runs:\n  a: {x: 1}\n", "full": "{}"}, "full") == "seed: 1\nruns: {}\n"


def test_sections_that_were_empty_are_not_written_on_one_line() -> None:
    overlays = {"quick": "runs: {a: {x: 1}, b: {x: 2}}", "full": "{}"}
    quick = switched("runs: {}  # none\n", overlays, "quick")
    assert quick == "runs:     # none\n  a: {x: 1}\n  b: {x: 2}\n"
    assert switched(quick, overlays, "full") == "runs: {}  # none\n"


def test_an_edited_profile_can_be_applied_again() -> None:
    quick = switched(DEFAULT, {"quick": QUICK, "full": FULL}, "quick")
    edited = QUICK.replace("epochs: &epochs 1 ", "patience: 3\n    epochs: &epochs 5 ")
    overlays = {"quick": edited, "full": FULL.replace("epochs: 100", "epochs: 100, patience: 3")}
    assert loaded(switched(quick, overlays, "quick"))["runs"]["tiny"]["epochs"] == 5


# ---- anchors of params.yaml

HEADS = """runs:
  frozen: &head
    epochs: 60   # many
    views: &views [1, 2]
    fresh: &fresh {zoom: 1}
  random:
    <<: *head
    input: other
  more: {views: *views, fresh: *fresh}
"""


@pytest.mark.parametrize(
    ("overlay", "lines"),
    [
        ("runs: {frozen: {epochs: 2}}", ["    epochs: 2    # many", "    epochs: 60"]),
        ("runs: {random: {epochs: 2}}", ["    epochs: 60   # many", "    epochs: 2"]),
        ("runs: {frozen: {epochs: 2}, random: {epochs: 2}}", ["    epochs: 2    # many"]),
        ("runs: {frozen: {epochs: 2}, random: {epochs: 3}}", ["    epochs: 2    # many", "    epochs: 3"]),
    ],
)
def test_a_merge_key_stays_and_only_the_named_entry_changes(overlay: str, lines: list[str]) -> None:
    text = switched(HEADS, {"quick": overlay}, "quick")
    assert [line for line in text.splitlines() if "epochs" in line] == lines
    assert "  frozen: &head\n" in text
    assert "    <<: *head\n" in text


@pytest.mark.parametrize(
    "overlay",
    [
        "runs: {frozen: {fresh: {zoom: 2}}}",
        "runs: {random: {fresh: {zoom: 2}}}",
        "runs: {more: {fresh: {zoom: 2}, views: [3]}}",
        "runs: {frozen: {views: [3], fresh: {zoom: 2}}, more: {fresh: {zoom: 3}}}",
        "runs: {random: {views: [3], fresh: {tone: 2}}, frozen: {fresh: {tone: 4}}}",
    ],
)
def test_what_is_shared_by_an_anchor_changes_in_the_named_place_alone(overlay: str) -> None:
    """`switched` compares the text with the merged values."""
    text = switched(HEADS, {"quick": overlay}, "quick")
    assert switched(text, {"quick": overlay}, "quick") == text


def test_an_entry_that_others_inherit_from_can_be_removed() -> None:
    text = HEADS.replace("    fresh: &fresh {zoom: 1}\n", "").replace(", fresh: *fresh", "")
    overlays = {"quick": "runs: {frozen: {epochs: 60, views: [1, 2]}}", "full": "{}"}
    assert loaded(switched(text, overlays, "full"))["runs"]["random"]["epochs"] == 60


# ---- refusals


@pytest.mark.parametrize("name", ["quick", "full"])
@pytest.mark.parametrize(
    ("quick", "full", "key"),
    [
        ("split: {test: 0.5}", "seed: 2", "split.test"),
        ("seed: 1", "seed: 2\nsplit: {test: 0.5}", "split.test"),
        ("runs: {frozen: {epochs: 2}}", "runs: {small_cnn: {epochs: 2}}", "runs.frozen.epochs"),
        ("runs: {frozen: {epochs: 2}}", "{}", "runs.frozen.epochs"),
        ("runs: {frozen: {epochs: 2, dropout: 0}}", "runs: {frozen: {epochs: 3}}", "runs.frozen.dropout"),
        ("runs: {new: {a: 1, b: 2}}", "runs: {new: {a: 1}}", "runs.new.b"),
        ("augment: {fresh: {}}", "augment: {fresh: {zoom: 0.2}}", "augment.fresh.zoom"),
        ("assess: {colorize: {folds: 2}}", "seed: 13", "seed"),
        ("assess: {colorize: {folds: 2}}", "{}", "assess.colorize.folds"),
        ("assess: {folds: 2}", "{}", "assess.folds"),
    ],
)
def test_a_key_that_one_profile_leaves_to_the_other_is_refused(quick: str, full: str, key: str, name: str) -> None:
    message = refusal(DEFAULT, {"quick": quick, "full": full}, name)
    assert message.startswith(f"{key}: ")
    assert "quick" in message
    assert "full" in message


def test_null_sets_all_of_a_mapping() -> None:
    overlays = {"quick": "source: {mirrored: {path: a, labels: idx}}", "full": "source: {mirrored: null}"}
    full = switched("source: {kind: url}\n", overlays, "full")
    assert full == "source: {kind: url, mirrored: null}\n"
    assert "mirrored: {path: a, labels: idx}" in switched(full, overlays, "quick")


def test_a_list_of_several_lines_stays_one() -> None:
    lines = "source:\n  location:\n  - https://x.org/a\n  - https://x.org/b\n"  # on one line, addresses need quotes
    overlays = {"quick": lines, "full": "source: {location: a}"}
    assert switched(switched(lines, overlays, "full"), overlays, "quick") == lines


def test_an_entry_that_no_profile_could_bring_back_is_not_removed() -> None:
    overlays = {"quick": "ensembles: {both: {runs: [a, b]}}", "full": "{}"}
    quick = "ensembles:\n  both: {runs: [a, b]}\n"
    edited = quick.replace("b]", "c]")
    assert refusal(edited, overlays, "full").startswith("params.yaml: ensembles.both differs from that of quick; full")
    assert switched(edited, overlays, "quick") == quick
    assert switched(quick, overlays, "full") == "ensembles: {}\n"


def test_runs_that_only_params_has_stay() -> None:
    overlays = {"quick": QUICK, "full": FULL}
    for one, other in pairwise(["full", "quick", "full"]):
        text = switched(switched(DEFAULT, overlays, one), overlays, other)
        assert {*loaded(DEFAULT)["runs"]} < {*loaded(text)["runs"]}


# ---- what is printed


def test_every_difference_has_a_line() -> None:
    old = {"seed": 1, "runs": {"a": {"x": 1, "y": [1]}, "b": {}}, "split": {"test": None}}
    new = {"seed": 1, "runs": {"a": {"x": 2, "y": [1, "z"]}, "c": {"x": 1}}, "split": {"test": True, "more": "é"}}
    assert list(differences(old, new)) == [
        "runs.b: removed",
        "runs.c: added",
        "runs.a.x: 1 -> 2",
        'runs.a.y: [1] -> [1, "z"]',
        "split.test: null -> true",
        'split.more: not set -> "é"',
    ]


def test_leaves_are_what_is_no_mapping() -> None:
    assert leaves({"a": {"b": 1, "c": {}}, "d": [1]}) == {("a", "b"): 1, ("d",): [1]}
