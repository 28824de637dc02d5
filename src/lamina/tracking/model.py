"""A trained network as an MLflow model: saved without TensorFlow, loadable with `mlflow.pyfunc.load_model`."""

import importlib.metadata
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from lamina.installation import PACKAGE
from lamina.models.saving import needs_lamina
from lamina.results.serving import Serving
from lamina.results.uncertainty import FOLDER, VALIDATION, find_judge
from lamina.tracking.records import TrackedRun

SERVED = Path(__file__).with_name("pyfunc.py")
REQUIRED = ("keras", "mlflow", "numpy", "pandas", "tensorflow")
FOR_ONNX = ("onnx", "onnxruntime")
FOR_TEXTS = ("filelock", "pyarrow", "pydantic", "ruamel.yaml", "scikit-learn", "scipy")
FOR_JUDGE = ("filelock", "pydantic", "ruamel.yaml")


def save(files: TrackedRun, folder: Path, *, run_id: str, model_id: str) -> None:
    """Write the model's folder: `model.keras`, the few lines that call it, signature and requirements.

    What goes in and comes out depends on the task (`lamina.results.serving.Serving`). Requirements are given, since
    MLflow's inference of them loads the network and takes ten seconds.
    """
    serving = files.task.serving(files.run.record)
    artifacts = {"network": str(files.model.resolve())}
    is_onnx, judge = needs_lamina(files.model), find_judge(files.run.folder, files.run.record.key)
    if serving.inputs is None:
        artifacts["words"] = str(_transform(files, folder.parent))
    if judge:
        artifacts["uncertainty"] = str(_judged(files.run.folder, folder.parent))
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=Model(run_id=run_id, model_id=model_id),
        python_model=str(SERVED),
        artifacts=artifacts,
        # texts become words and answers are judged by lamina's own code, and ONNX networks run in a layer of lamina
        code_paths=[str(PACKAGE)] if is_onnx or judge or serving.inputs is None else None,
        model_config={"columns": list(serving.columns), "output_type": serving.output_type, "own_layer": is_onnx},
        signature=signature(serving, judge.columns if judge else {}),
        pip_requirements=requirements(
            files.run.record.environment, texts=serving.inputs is None, onnx=is_onnx, judge=judge is not None
        ),
    )


def _judged(run: Path, folder: Path) -> Path:
    """Copy what answers are judged with, without the predictions of the validation fold; return the copy."""
    return shutil.copytree(run / FOLDER, folder / FOLDER, ignore=shutil.ignore_patterns(VALIDATION))


def _transform(files: TrackedRun, folder: Path) -> Path:
    """Copy what turns texts into rows of words, without the matrix; return the copy."""
    source, target = files.inputs / files.run.record.input, folder / "words"
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".npz":
            shutil.copyfile(path, target / path.name)
    return target


def signature(serving: Serving, judged: Mapping[str, str] = MappingProxyType({})) -> ModelSignature:
    """Return what goes in and comes out, as MLflow describes it; judged: further columns and their types."""
    inputs = Schema(
        [ColSpec("string", "text") if serving.inputs is None else TensorSpec(np.dtype("uint8"), serving.inputs)]
    )
    if serving.outputs is None:
        forms = {**dict.fromkeys(serving.columns, "float"), **judged}
        return ModelSignature(inputs, Schema([ColSpec(form, name) for name, form in forms.items()]))
    return ModelSignature(inputs, Schema([TensorSpec(np.dtype(serving.output_type), serving.outputs)]))


def requirements(
    environment: Mapping[str, Any], *, texts: bool = False, onnx: bool = False, judge: bool = False
) -> list[str]:
    """Pin what the model needs to the versions it was trained with; what the record does not name, to those here."""
    names = (*REQUIRED, *(FOR_TEXTS if texts else FOR_JUDGE if judge else ()), *(FOR_ONNX if onnx else ()))
    return [f"{name}=={environment.get(name) or importlib.metadata.version(name)}" for name in names]
