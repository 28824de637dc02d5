"""What accepted runs were made with: kept, compared, and not needed."""

import json
from pathlib import Path

import pytest

from lamina.errors import UserError
from lamina.files import write_json
from lamina.results.run_facts import RunFacts, accepted_facts, facts_path, made_differently, present_facts


def test_facts_come_from_the_files_of_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "head"
    write_json(folder / "record.json", {"input": "features/lite0", "environment": {"keras": "3.15.1"}})
    write_json(folder / "timing.json", {"seconds": {}, "machine": {"model": "Zen", "instructions": ["avx2"]}})
    write_json(tmp_path / "data/features/lite0.timing.json", {"engine": "OpenVINO", "precision": "bfloat16"})
    spread = {"values": [0.8, 0.9], "mean": 0.85, "deviation": 0.07}
    write_json(
        folder / "assessment.json",
        {"repeats": {"seeds": [2, 3], "test": spread, "validation": spread}, "control": None},
    )
    assert present_facts(tmp_path, "head") == RunFacts(
        made_with={"model": "Zen", "instructions": ["avx2"], "keras": "3.15.1", "engine": "OpenVINO bfloat16"},
        repeats=[0.8, 0.9],
    )


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    assert present_facts(tmp_path, "head") == RunFacts()
    assert accepted_facts(tmp_path) == {}


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", '{"runs": {"head": {"repeats": ["good"]}}}', '{"runs": []}'])
def test_a_broken_file_is_one_line(tmp_path: Path, text: str) -> None:
    facts_path(tmp_path).parent.mkdir()
    facts_path(tmp_path).write_text(text)
    with pytest.raises(UserError, match=r"runs.json: .*; restore it, or renew it with --accept$"):
        accepted_facts(tmp_path)


def test_differences_are_said_where_both_are_known() -> None:
    old = RunFacts(made_with={"model": "Zen", "instructions": ["avx2", "avx512f"], "keras": "3.15.0", "cores": 2})
    new = RunFacts(
        made_with={"model": "Core", "instructions": ["avx2", "amx_bf16"], "keras": "3.15.0", "engine": "Keras"}
    )
    assert made_differently(old, new) == "instructions +amx_bf16 -avx512f, model Zen -> Core"
    assert made_differently(old, old) == made_differently(RunFacts(), new) == made_differently(old, RunFacts()) == ""


def test_facts_are_json_that_git_can_show(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    RunFacts(made_with={"b": 1, "a": [2]}).write(path)
    assert json.loads(path.read_text()) == {"made_with": {"a": [2], "b": 1}, "repeats": []}
