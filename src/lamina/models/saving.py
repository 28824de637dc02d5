"""Saving of models: the same model gives the same bytes."""

import json
import zipfile
from pathlib import Path
from typing import Any, Final

from lamina.files import staged

_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest date of the ZIP format


def save_model(model: Any, path: Path) -> None:
    """Save a Keras model as `.keras`, atomically.

    Keras stores the date and memory addresses of objects; they are removed, so that the same training gives the same
    file.
    """
    with staged(path) as part:
        model.save(part)
        with zipfile.ZipFile(part) as source:
            contents = {name: _deterministic(name, source.read(name)) for name in sorted(source.namelist())}
        with zipfile.ZipFile(part, "w") as target:
            for name, content in contents.items():
                target.writestr(zipfile.ZipInfo(name, _NO_TIME), content)


def needs_lamina(path: Path) -> bool:
    """Whether a saved model has a layer of lamina's own, so that it cannot be loaded without lamina."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "config.json" in archive.namelist() and b'"lamina>' in archive.read("config.json")


def _deterministic(name: str, content: bytes) -> bytes:
    if not name.endswith(".json"):
        return content
    config = _numbered(json.loads(content), {})
    config.pop("date_saved", None)
    return json.dumps(config, sort_keys=True).encode()


def _numbered(value: Any, numbers: dict[int, int]) -> Any:
    """Replace the ids of shared objects, which are memory addresses, by 1, 2, ... in their order."""
    if isinstance(value, list):
        return [_numbered(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _numbered(item, numbers) for key, item in value.items()}
    if isinstance(address := result.get("shared_object_id"), int):
        result["shared_object_id"] = numbers.setdefault(address, len(numbers) + 1)
    return result
