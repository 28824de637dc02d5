"""Where results lie: as `params.yaml` says now, not as folders that were left behind."""

import json
import os
from pathlib import Path

from lamina.results.folders import ensemble_folder, made_by, results_folder, run_folder


def write(system: Path, *ensembles: str) -> None:
    (system / "params.yaml").write_text(json.dumps({"ensembles": dict.fromkeys(ensembles)}))


def test_params_decide_what_is_an_ensemble(tmp_path: Path) -> None:
    run, ensemble = tmp_path / "models/both", tmp_path / "ensembles/both"
    ensemble.mkdir(parents=True)
    assert results_folder(tmp_path, "both") == run
    write(tmp_path, "both")
    assert results_folder(tmp_path, "both") == ensemble == ensemble_folder(tmp_path, "both")
    assert results_folder(tmp_path, "head") == tmp_path / "models/head" == run_folder(tmp_path, "head")


def test_changed_params_are_read_again(tmp_path: Path) -> None:
    for time, (name, other) in enumerate((("a", "b"), ("b", "a")), start=1):
        write(tmp_path, name)
        os.utime(tmp_path / "params.yaml", (time, time))
        assert results_folder(tmp_path, name) == tmp_path / "ensembles" / name
        assert results_folder(tmp_path, other) == tmp_path / "models" / other


def test_the_stage_that_makes_results_is_named() -> None:
    assert made_by(Path("models/head"), "train") == "train@head"
    assert made_by(Path("ensembles/both"), "train") == "ensembles"
