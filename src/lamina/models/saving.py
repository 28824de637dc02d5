"""Models as files: the same model is the same bytes."""

import json
import zipfile
from pathlib import Path
from typing import Any, Final

from lamina.files import staged

_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can say


def save_model(model: Any, path: Path) -> None:
    """Save a Keras model as `.keras`, whole or not at all.

    Keras writes down when it saved and where in memory objects stood; here that is left out, so that training again
    with the same inputs does not look like another result.
    """
    with staged(path) as part:
        model.save(part)
        with zipfile.ZipFile(part) as source:
            contents = {name: _settled(name, source.read(name)) for name in sorted(source.namelist())}
        with zipfile.ZipFile(part, "w") as target:
            for name, content in contents.items():
                target.writestr(zipfile.ZipInfo(name, _NO_TIME), content)


def _settled(name: str, content: bytes) -> bytes:
    if not name.endswith(".json"):
        return content
    settled = _numbered(json.loads(content), {})
    settled.pop("date_saved", None)
    return json.dumps(settled, sort_keys=True).encode()


def _numbered(value: Any, numbers: dict[int, int]) -> Any:
    """Number shared objects in the order of their mention: Keras tells them apart by their place in memory."""
    if isinstance(value, list):
        return [_numbered(one, numbers) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _numbered(one, numbers) for key, one in value.items()}
    if isinstance(place := found.get("shared_object_id"), int):
        found["shared_object_id"] = numbers.setdefault(place, len(numbers) + 1)
    return found
