"""A trained network as an MLflow model: saved without TensorFlow, loadable with `mlflow.pyfunc.load_model`."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from lamina.tracking.records import RunFiles

CODE = {
    "transfer": Path(__file__).with_name("pyfunc_classifier.py"),
    "scratch": Path(__file__).with_name("pyfunc_classifier.py"),
    "colorize": Path(__file__).with_name("pyfunc_colorizer.py"),
    "pretext": Path(__file__).with_name("pyfunc_lightener.py"),
}
REQUIRED = ("keras", "mlflow", "numpy", "pandas", "tensorflow")


def save(files: RunFiles, folder: Path, *, run_id: str, model_id: str) -> None:
    """Write the model's folder: `model.keras`, the few lines that call it, signature and requirements.

    In: (n, S, S, 3) uint8 RGB. Out: of a classifier a table with one column of probabilities per class; of a colorizer
    the pictures in color, (n, S, S, 3) uint8 RGB; of a pretext run their lightness, (n, S, S, 1) float32 L of CIELAB.
    Requirements are given, since MLflow's inference of them loads the network and takes ten seconds.
    """
    classes = list(files.record["classes"])
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=Model(run_id=run_id, model_id=model_id),
        python_model=str(CODE[files.record["kind"]]),
        artifacts={"network": str(files.model.resolve())},
        model_config={"classes": classes},
        signature=signature(int(files.record["size"]), classes, files.record["kind"]),
        pip_requirements=requirements(files.record["environment"]),
    )


def signature(size: int, classes: list[str], kind: str) -> ModelSignature:
    """What goes in and comes out; of a run without classes that are pictures, too, or their lightness."""
    pictures = Schema([TensorSpec(np.dtype("uint8"), (-1, size, size, 3))])
    if kind == "pretext":
        return ModelSignature(pictures, Schema([TensorSpec(np.dtype("float32"), (-1, size, size, 1))]))
    return ModelSignature(pictures, Schema([ColSpec("float", name) for name in classes]) if classes else pictures)


def requirements(environment: Mapping[str, Any]) -> list[str]:
    """Pin what the model needs at the versions it was trained with; what the record does not tell, at those here."""
    return [f"{name}=={environment.get(name) or importlib.metadata.version(name)}" for name in REQUIRED]
