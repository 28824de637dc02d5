"""Small systems in a folder, as the stages leave them, made without training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from PIL import Image

from lamina.files import write_json
from lamina.results.record import Record

ROOT: Final = Path(__file__).parents[1]
NUMBERS: Final = {"learning_rate": 0.001, "dropout": 0.5, "decay": 0.0}
CONVERT: Final = {"size": 8, "resize": "pad", "isolate": "none", "no_cell": "drop"}

_TRAINED: Final = {"weights": "weights/random", "epochs": 4, "batch_size": 8, **NUMBERS}
_FROM_PIXELS: Final = {"input": "pixels", **_TRAINED}
_COLORS: Final = {"encoder": "small_cnn", "preprocess": "native", "decoder": "unet", "loss": "mse", "trainable": True}
RUNS: Final[Mapping[str, Mapping[str, Any]]] = {
    "head": {"task": "classify", "input": "features/small_cnn", **_TRAINED},
    "network": {"task": "classify", "network": "small_cnn", **_FROM_PIXELS},
    "colorizer": {"task": "colorize", **_COLORS, **_FROM_PIXELS},
    "lightness": {"task": "lightness", "encoder": "small_cnn", "decoder": "conv", **_FROM_PIXELS},
}


def run_settings(kind: str, **changes: Any) -> dict[str, Any]:
    """Return a run's mapping of `params.yaml`; kind: a key of `RUNS`; changes: settings that differ."""
    return {**RUNS[kind], **changes}


def write_params(system: Path, runs: Mapping[str, Mapping[str, Any]], **sections: Any) -> None:
    """Write `params.yaml` with these runs; sections: those that are not the default."""
    told = {"seed": 1, "convert": CONVERT, **sections, "runs": runs}
    (system / "params.yaml").write_text(json.dumps(told))  # JSON is YAML


def finished_record(
    name: str, settings: Mapping[str, Any], *, classes: Sequence[str] = (), key: str = "a", width: int = 8, **more: Any
) -> Record:
    """Return the record of a run. key: one letter, of which the run's key is made; more: further fields."""
    decided: dict[str, Any] = {
        "run": name,
        "task": settings["task"],
        "input": settings["input"],
        "settings": dict(settings),
        "numbers": NUMBERS,
        "seed": 13,
        "classes": list(classes),
        "width": width,
        "data": {"digest": "d" * 64, "rows": {"train": 10, "validation": 2}},
        "environment": {"python": "3.11.2", "keras": "3.15.1", "numpy": "1.2.3"},
        "code": "e" * 64,
        "key": key * 64,
        "commit": "c" * 40,
    }
    return Record(**(decided | more))


def finished_history(measure: str, epochs: int = 4) -> pd.DataFrame:
    """Return the rows of `history.csv`: in epoch n all values are 1 / n."""
    columns = ("train_loss", f"train_{measure}", "validation_loss", f"validation_{measure}", "learning_rate")
    return pd.DataFrame([{"epoch": n, **dict.fromkeys(columns, 1 / n)} for n in range(1, epochs + 1)])


def write_finished_run(
    system: Path,
    record: Record,
    *,
    metrics: Mapping[str, Any],
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    trials: pd.DataFrame | None = None,
    numbers: Mapping[str, float] | None = None,
    seconds: Mapping[str, float] | None = None,
    assessment: Mapping[str, Any] | None = None,
    model: bytes = b"not opened",
    sheets: Mapping[str, Image.Image] | None = None,
) -> Path:
    """Write `models/NAME/` as the stages of a run leave it, and return it; what is None is left out.

    sheets: by place, such as `sheets/colors` or `progress/learning`.
    """
    folder = system / "models" / record.run
    folder.mkdir(parents=True, exist_ok=True)
    record.write(folder / "record.json")
    history.to_csv(folder / "history.csv", index=False)
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    (folder / "model.keras").write_bytes(model)
    write_json(folder / "metrics.json", dict(metrics))
    if trials is not None:
        trials.to_csv(folder / "trials.csv", index=False)
    if numbers is not None:
        (folder / "tuned.yaml").write_text("".join(f"{name}: {value}\n" for name, value in numbers.items()))
    if seconds is not None:
        write_json(folder / "timing.json", {"seconds": dict(seconds), "machine": {"cores": 2}})
    if assessment is not None:
        write_json(folder / "assessment.json", dict(assessment))
    for place, sheet in (sheets or {}).items():
        path = folder / f"{place}.png"
        path.parent.mkdir(exist_ok=True)
        sheet.save(path)
    return folder


def class_scores(
    accuracy: float, classes: Sequence[str], *, n: int = 4, origins: int = 4, **more: Any
) -> dict[str, Any]:
    """Return a fold's block of a classifier's `metrics.json`; all classes have the same scores."""
    each = {"precision": 0.25, "recall": 0.5, "f1": 1 / 3, "n": n // max(1, len(classes))}
    return {
        "accuracy": accuracy,
        "interval": [0.5, 0.9],
        "n": n,
        "origins": origins,
        "macro_f1": 0.7,
        "majority": 0.5,
        "per_class": dict.fromkeys(classes, each),
    } | more


def color_scores(
    mse: float, *, n: int = 4, origins: int = 4, grey: float = 200.0, mean: float = 180.0
) -> dict[str, Any]:
    """Return a fold's block of a colorizer's `metrics.json`; its other measures follow from the MSE.

    grey, mean: MSE of the baselines. Each interval goes from 0.9 to 1.2 of its value.
    """
    values = {"mse": mse, "psnr": 33 - mse / 20, "ssim": 1 - mse / 2500, "ciede2000": mse / 20}
    values |= {"colorfulness": 40 - mse / 5, "auc": 1 - mse / 1700, "auc_rebalanced": 1 - mse / 900}
    of_grey = {"mse": grey, "psnr": 23.1, "ssim": 0.91, "ciede2000": 9.6, "colorfulness": 0.0, "auc": 0.89}
    of_mean = {"mse": mean, "psnr": 23.9, "ssim": 0.92, "ciede2000": 9.2, "colorfulness": 7.4, "auc": 0.9}
    measures: dict[str, dict[str, Any]] = {
        name: {
            "value": value,
            "interval": [0.9 * value, 1.2 * value],
            "grey": of_grey.get(name, 0.76),
            "mean": of_mean.get(name, 0.77),
        }
        for name, value in values.items()
    }
    measures["colorfulness"]["true"] = 37.4
    against = {
        name: {"difference": mse - other, "interval": [mse - other - 12.5, mse - other + 12.5]}
        for name, other in (("grey", grey), ("mean", mean))
    }
    interval = measures["mse"]["interval"]
    return {"mse": mse, "interval": interval, "n": n, "origins": origins, "measures": measures, "against": against}


def lightness_scores(mse: float, *, n: int = 4, origins: int = 4) -> dict[str, Any]:
    """Return a fold's block of `metrics.json` of a run that learned lightness; the training mean's MSE is 300."""
    return {"mse": mse, "interval": [0.9 * mse, 1.2 * mse], "baseline": 300.0, "n": n, "origins": origins}


def write_profile(system: Path, **changes: object) -> None:
    """Write what the stage `validate` says about the data; `changes` replace parts of it."""
    profile = {
        "delivered": {"pictures": 210, "independent": 100.0},
        "kept": {"pictures": 200, "independent": 98.3},
        "quantiles": {"brightness": [float(level) for level in range(21)]},
        "classes": {"cat": 100, "dog": 100},
        "rejected": {"duplicate": 10},
    } | changes
    write_json(system / "data" / "validation" / "profile.json", profile)
