"""What the folders of a source mean: classes, or published parts such as train and test.

Known layouts:

- `CLASS/...`: Keras' `image_dataset_from_directory` and torchvision's `ImageFolder` take the first folder as the class,
  and read all folders below it.
- `train/CLASS/...`, `validation/CLASS/...`, `test/CLASS/...`: one such folder for each part; `test` may hold pictures
  without labels, as in competitions.
- `CLASS/train/...`, `CLASS/test/...`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from lamina.data.sources.members import Members, to_nfc

Labels = tuple[str, ...]

BY_FOLDER: Final = "folder"  # value of `source.labels`: the last folder that is no part; `folder 2`: the second one
TRAIN, VALIDATION, TEST, OTHER = "train", "validation", "test", "other"
# words in the names of folders that hold a part of a data set, as in seg_train, test_set or TEST_SIMPLE
ROLES: Final[Mapping[str, str]] = {
    "train": TRAIN, "training": TRAIN,
    "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "dev": VALIDATION,
    "test": TEST, "testing": TEST,
    "pred": OTHER, "prediction": OTHER,
}  # fmt: skip


def folder_level(labels: str) -> int | None:
    """Return which folder is the class, from 1, or 0 for the last one that is no part; None if labels are elsewhere."""
    found = re.fullmatch(rf"{BY_FOLDER}(?: ([1-9]))?", labels)
    return None if found is None else int(found[1] or 0)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Folders of a source.

    Attributes:
        top: As of `Members`; levels are counted below it.
        counts: Number of pictures by the folders that they lie in.
    """

    top: str
    counts: Mapping[Labels, int]

    @cached_property
    def levels(self) -> list[set[str]]:
        """The names of the folders at each level."""
        deepest = max(map(len, self.counts), default=0)
        return [{path[level] for path in self.counts if len(path) > level} for level in range(deepest)]

    @cached_property
    def parts(self) -> tuple[int, ...]:
        """Levels at which all folders are parts; counted from 0."""
        return tuple(level for level, names in enumerate(self.levels) if _are_parts(names))

    def label(self, name: str, level: int = 0) -> Labels:
        """Return the class of a picture by its folder; empty if it lies in none.

        Args:
            name: Name of the picture.
            level: Of `folder_level`.
        """
        return self._label(_folders(name, self.top), level)

    def _label(self, path: Labels, level: int) -> Labels:
        if level:
            return path[level - 1 : level]
        return tuple(folder for at, folder in enumerate(path) if at not in self.parts)[-1:]

    @cached_property
    def readings(self) -> dict[str, dict[str, int]]:
        """What the folders may mean: pictures by class, by value of `source.labels`; different ones only."""
        found: dict[tuple[Labels, ...], str] = {}
        for level in range(len(self.levels) + 1):
            cells = tuple(self._label(path, level) for path in self.counts)
            if level - 1 not in self.parts and len({*cells} - {()}) > 1:
                found.setdefault(cells, f"{BY_FOLDER} {level}" if level else BY_FOLDER)
        return {value: self._count(cells) for cells, value in found.items()}

    def _count(self, cells: Iterable[Labels]) -> dict[str, int]:
        counted = Counter[str]()
        for cell, count in zip(cells, self.counts.values(), strict=True):
            counted.update(dict.fromkeys(cell, count))
        return dict(sorted(counted.items()))

    def test_pattern(self, names: Iterable[str], labels: Callable[[str], Labels]) -> str | None:
        """Find the published test part, or else the validation part, of a labeled source.

        Args:
            names: Names of the pictures.
            labels: From a name to the labels.

        Returns:
            Pattern for `split.test_pattern`; None if there is no such part, or it shares fewer than two classes with
            the other pictures.
        """
        if not self.parts:
            return None
        level = self.parts[0]
        roles = {name: _role(name) for name in sorted(self.levels[level])}
        held_out = [name for name in roles if roles[name] == (TEST if TEST in roles.values() else VALIDATION)]
        classes: dict[bool, set[str]] = {True: set(), False: set()}
        for name in names:
            classes[_folders(name, self.top)[level : level + 1] in {(one,) for one in held_out}].update(labels(name))
        if len(classes[True] & classes[False]) < 2:
            return None
        escaped = [re.escape(name) for name in held_out]
        return "^" + "[^/]+/" * level + (escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})") + "/"


def find_layout(members: Members) -> Layout:
    """Read the layout of the pictures of a source, or of its texts."""
    return layout_of(members.pictures, members.top)


def layout_of(names: Iterable[str], top: str = "") -> Layout:
    """Read the layout of pictures, or of texts, from their names."""
    return Layout(top=top, counts=Counter(_folders(name, top) for name in names))


def _folders(name: str, top: str) -> Labels:
    return tuple(to_nfc(name.removeprefix(top)).split("/")[:-1])


def _role(name: str) -> str | None:
    return next((ROLES[word] for word in re.split("[^a-z]+", name.lower()) if word in ROLES), None)


def _are_parts(names: set[str]) -> bool:
    roles = {_role(name) for name in names}
    return None not in roles and (TRAIN in roles or len(roles) > 1)
