"""What tests of several rooms share: where the checkout is, small systems, and commands in their folders."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

# ---- systems that are driven from the command line


def environment(package: Path) -> dict[str, str]:
    """The environment of commands: `python`, `dvc` and `lamina` of the tests, with the package in a folder.

    Args:
        package: the folder that holds `lamina/`.
    """
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(package),
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | own


def call(project: Path, *command: str, expect: int = 0, package: Path | None = None) -> str:
    """Run a command in a project that holds `src/lamina`, unless `package` does; return what it printed."""
    env = environment(package or project / "src")
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == expect, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def change_params(system: Path, sections: Mapping[str, Mapping[str, Any]], *, replace: tuple[str, ...] = ()) -> None:
    """Change values in a system's params.yaml, one level below the sections; those named in `replace` as a whole."""
    yaml, path = YAML(), system / "params.yaml"
    params = yaml.load(path)
    for name, values in sections.items():
        if name in replace:
            params[name] = dict(values)
        else:
            params[name].update(values)
    yaml.dump(params, path)


def stages_run(output: str) -> set[str]:
    """The stages that `dvc repro` says it ran, or would run."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def tracked_scores(project: Path, *names: str) -> dict[str, float]:
    """The test score, by run, of the whole runs in a project's MLflow; names: of measures."""
    with sqlite3.connect(project / "mlflow" / "mlflow.db") as database:
        rows = database.execute(
            "select name, value from runs join latest_metrics using (run_uuid) "
            "where lifecycle_stage = 'active' and key in (select value from json_each(?))",
            (json.dumps([f"test_{name}" for name in names]),),
        ).fetchall()
    assert len(rows) == len(dict(rows)), "a run is there twice"
    return dict(rows)
