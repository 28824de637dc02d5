"""Film reviews from the archive to words, then two linear classifiers: time, memory and accuracy of each step.

python bench/texts.py imdb.zip [--keep-duplicates] [--validation 0.02]

ARCHIVE holds `train/CLASS/*.txt` and `test/CLASS/*.txt`. Each stage is a process in a temporary folder. A classifier
takes the penalty with the best accuracy in a cross-validation of the training texts: the test texts choose nothing.
The penalties that `lamina new` writes come from here.
Known results on the 25,000 test reviews of the Large Movie Review Dataset: NB-SVM with pairs of words 91.6 %, logistic
regression on 10,000 binary words 88.1 %, both trained on all 25,000 training reviews.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from lamina.inputs.words import read_matrix
from lamina.maths.scores import accuracy_interval
from lamina.training.linear import LinearModel, fit_logistic, fit_nbsvm

STAGES = ("download", "filter_texts", "split_texts", "validate_texts", "words frequent", "words pairs")
PARAMS = """\
seed: 13
source: {{kind: archive, content: texts, location: {archive}, labels: folder}}
filter: {{min_words: 3, strip_html: true, drop_duplicates: {drop}}}
split: {{test: 0.3, validation: {validation}, test_pattern: "^test/"}}
words:
  frequent: {{vocabulary: 10000}}
  pairs: {{vocabulary: 1000000, ngrams: 2, min_texts: 2}}
"""
FITS: dict[str, tuple[str, Callable[..., LinearModel], tuple[float, ...]]] = {  # words, fit, penalties
    "logistic regression": ("frequent", fit_logistic, (3, 10, 20, 30, 50, 100)),
    "NB-SVM": ("pairs", fit_nbsvm, (1, 2, 5, 10, 20, 50)),
}
PARTS = 5  # of the cross-validation


def run(stage: str, system: Path) -> tuple[float, float, float, str]:
    """Run a stage; return its seconds, those of processors, its peak memory in MiB, and what it prints."""
    module, *names = stage.split()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"lamina.stages.{module}", *names], cwd=system, stdout=subprocess.PIPE, text=True
    )
    printed = process.stdout.read().strip() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{stage} failed")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, printed


def cross_validated(fit: Callable[..., LinearModel], x: Any, labels: np.ndarray, penalty: float) -> float:
    """Return the mean accuracy of a cross-validation over a sparse matrix (n, width) and its (n,) class numbers."""
    parts = StratifiedKFold(PARTS, shuffle=True, random_state=13).split(x, labels)
    return float(np.mean([accuracy(fit(x[a], labels[a], 2, strength=1 / penalty), x[b], labels[b]) for a, b in parts]))


def accuracy(fitted: LinearModel, x: Any, labels: np.ndarray) -> float:
    return float((fitted.predict(x).argmax(axis=1) == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--keep-duplicates", action="store_true", help="test on all test texts, as published")
    parser.add_argument("--validation", type=float, default=0.02)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        system = Path(folder)
        (system / "baselines").mkdir()
        (system / "baselines" / "data.json").write_text("{}")
        archive, drop = json.dumps(str(arguments.archive.resolve())), str(not arguments.keep_duplicates).lower()
        params = PARAMS.format(archive=archive, drop=drop, validation=arguments.validation)
        (system / "params.yaml").write_text(params)
        total = 0.0
        for stage in STAGES:
            seconds, busy, memory, printed = run(stage, system)
            total += seconds
            print(f"{stage:20}{seconds:7.1f} s{busy:7.1f} s of processors{memory:7.0f} MiB  {printed}", flush=True)
        print(f"{'source to words':20}{total:7.1f} s")
        manifest = pd.read_parquet(system / "data/split/manifest.parquet")
        _, labels = np.unique(manifest["label"].to_numpy(str), return_inverse=True)
        train, test = ((manifest["fold"] == fold).to_numpy() for fold in ("train", "test"))
        for name, (words, fit, penalties) in FITS.items():
            x = read_matrix(system / "data/words" / words)
            found = {penalty: cross_validated(fit, x[train], labels[train], penalty) for penalty in penalties}
            for penalty, share in found.items():
                print(f"{name:20}penalty {penalty:4}: {100 * share:.2f} % in cross-validation of {train.sum()} texts")
            start = time.perf_counter()
            fitted = fit(x[train], labels[train], 2, strength=1 / max(found, key=found.__getitem__))
            seconds = time.perf_counter() - start
            hits = fitted.predict(x[test]).argmax(axis=1) == labels[test]
            low, high = accuracy_interval(hits, manifest["origin"][test])
            print(
                f"{name:20}{seconds:7.1f} s  {100 * hits.mean():.2f} % of {len(hits)} test texts classified correctly "
                f"({100 * low:.2f} to {100 * high:.2f}), {x.shape[1]} words, trained on {train.sum()}"
            )


if __name__ == "__main__":
    main()
