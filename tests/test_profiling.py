"""`bench/profiling.py` sees what stages do, in the warm process that forks itself for them as well."""

import subprocess
import sys

import pytest

from checkout import ROOT

COLUMNS = ["DVC", "start", "imports", "graphs", "MLflow", "reading", "writing", "waiting", "computing"]


@pytest.mark.nightly
def test_a_profile_tells_causes_of_each_stage_apart() -> None:
    script = [sys.executable, str(ROOT / "bench" / "profiling.py"), "--small"]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    table = printed.split("\n\n")[0].splitlines()
    assert table[0].split() == ["seconds", "of", "total", *COLUMNS]
    stages = {row.split()[0]: [float(value) for value in row.split()[-9:]] for row in table[1:]}
    seen = dict(zip(COLUMNS, stages["train@tiny"], strict=True))
    assert min(seen["graphs"], seen["computing"]) > 0.1, "TensorFlow makes graphs, and computes"
    together = dict(zip(COLUMNS, stages["together"], strict=True))
    assert together["start"] < sum(together.values()) / 2, "most of the time has a cause"
