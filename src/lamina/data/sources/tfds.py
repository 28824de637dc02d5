"""Pictures of a TensorFlow Datasets (TFDS) dataset, encoded as they are stored there."""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lamina.data.sources.catalog import find_builder, full_location, known, library, prepare, reading
from lamina.data.sources.members import MEMBER_BYTES, PICTURE_SUFFIXES, checked_name, normal
from lamina.data.sources.picture import Picture
from lamina.errors import UserError

SIGNATURES: Final = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"RIFF", ".webp"),
)


@dataclass(frozen=True, kw_only=True)
class Features:
    """Which of a dataset's features are what a source tells.

    image: the pictures; file_name: their files' names, where told; labels: class names by ClassLabel feature;
    main_label: the one that the dataset is about, where it says so or has no other.
    """

    image: str
    file_name: str | None
    labels: Mapping[str, tuple[str, ...]]
    main_label: str | None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A prepared dataset. location: its full name with configuration and version; splits: pictures in each."""

    location: str
    features: Features
    splits: Mapping[str, int]
    builder: Any


def open_dataset(location: str, labels: str | None = None, content: str = "pictures") -> Dataset:
    """Open a dataset; prepare it first, if it is not.

    location, labels, content: as in the section `source`. Raises UserError for what cannot be such a source, before
    anything is downloaded where that can be told.
    """
    where = f"tfds:{location}"
    builder = find_builder(location)
    features = read_features(builder, where, content)
    if labels is not None:
        chosen_label(features, labels, where)
    prepare(builder, where)
    splits = {name: int(split.num_examples) for name, split in sorted(builder.info.splits.items())}
    return Dataset(
        location=full_location(builder),
        features=read_features(builder, where, content),  # once more: some learn their classes from what they download
        splits=splits,
        builder=builder,
    )


def read_features(builder: Any, where: str, content: str = "pictures") -> Features:
    """Tell a dataset's features apart.

    content: `pictures`, or `texts`, which are the feature `image` then. Raises UserError where the dataset holds none
    of them, or several without a main one.
    """
    kinds = library().features
    told = builder.info.features
    features = dict(told.items()) if isinstance(told, kinds.FeaturesDict) else {}
    keys = [key for key in builder.info.supervised_keys or () if isinstance(key, str)]
    images = _of_kind(features, kinds.Image, but=kinds.LabeledImage)
    labels = _of_kind(features, kinds.ClassLabel)
    if content == "texts":
        return _text_features(features, keys, where)
    if not images:
        what = "texts, not pictures" if _of_kind(features, kinds.Text) else "no pictures"
        listed = ", ".join(f"{name}: {type(one).__name__}" for name, one in features.items())
        raise UserError(f"{where}: holds {what} ({listed or type(told).__name__}); choose a dataset of images")
    image = _main(images, keys[:1], "image")
    if image is None:
        raise UserError(
            f"{where}: has several pictures an example ({', '.join(images)}), and does not say which is meant"
        )
    kind = np.dtype(images[image].np_dtype).name
    if kind not in ("uint8", "uint16"):
        raise UserError(f"{where}: {image} holds {kind} numbers, which are no picture's colors; choose another dataset")
    return Features(
        image=image,
        file_name=next((name for name in _of_kind(features, kinds.Text) if _is_file_name(name)), None),
        labels={name: tuple(label.names) if label.num_classes else () for name, label in labels.items()},
        main_label=_main(labels, keys[1:2]),
    )


def _text_features(features: Mapping[str, Any], keys: list[str], where: str) -> Features:
    kinds = library().features
    texts = {name: one for name, one in _of_kind(features, kinds.Text).items() if not _is_file_name(name)}
    labels = _of_kind(features, kinds.ClassLabel)
    listed = ", ".join(f"{name}: {type(one).__name__}" for name, one in features.items())
    if not texts:
        raise UserError(
            f"{where}: holds no texts ({listed}); choose a dataset of texts, or set source.content: pictures"
        )
    text = _main(texts, keys[:1], "text")
    if text is None:
        raise UserError(f"{where}: has several texts an example ({', '.join(texts)}), and does not say which is meant")
    return Features(
        image=text,
        file_name=None,
        labels={name: tuple(label.names) if label.num_classes else () for name, label in labels.items()},
        main_label=_main(labels, keys[1:2]),
    )


def _of_kind(features: Mapping[str, Any], kind: Any, but: Any = ()) -> dict[str, Any]:
    return {name: one for name, one in sorted(features.items()) if isinstance(one, kind) and not isinstance(one, but)}


def _main(found: Mapping[str, Any], keys: list[str], usual: str = "") -> str | None:
    """The feature that the dataset names as its main one, or the only one, or the one of the usual name."""
    candidates = (*keys, *(found if len(found) == 1 else ()), usual)
    return next((name for name in candidates if name in found), None)


def _is_file_name(feature: str) -> bool:
    return feature.rpartition("/")[2].replace("_", "").lower().endswith("filename")


def chosen_label(features: Features, labels: str, where: str) -> str | None:
    """The feature that `source.labels` means. Raises UserError where there is none, or no main one."""
    if labels == "none" or labels in features.labels:
        return None if labels == "none" else labels
    if not features.labels:
        raise UserError(f"{where}: none of its features is a label (ClassLabel); set source.labels to none")
    if labels != "folder":
        raise UserError(f"{where}: source.labels {labels!r} is none of its labels{known(labels, features.labels)}")
    if features.main_label is None:
        raise UserError(f"{where}: has several labels; set source.labels to one{known('label', features.labels)}")
    return features.main_label


def usual_label(features: Features, where: str) -> str:
    """What `source.labels` may well be: `folder`, or the first of several labels. Raises UserError without any."""
    if len(features.labels) < 2 or features.main_label:
        chosen_label(features, "folder", where)
        return "folder"
    return next(iter(features.labels))


def chosen_splits(dataset: Dataset, splits: tuple[str, ...] | None) -> dict[str, int]:
    """The splits to read, in the order of the pictures' names, and how many pictures each holds.

    splits: names; null: all. Raises UserError for one that does not exist, with those that do.
    """
    for name in splits or ():
        if name not in dataset.splits:
            raise UserError(f"tfds:{dataset.location}: source.splits: no split {name!r}{known(name, dataset.splits)}")
    chosen = dataset.splits if splits is None else splits
    return {name: dataset.splits[name] for name in sorted(chosen, key=lambda name: f"{name}/")}


def read_pictures(
    dataset: Dataset,
    labels: str,
    splits: tuple[str, ...] | None = None,
    find_origin: Callable[[str], str] | None = None,
    content: str = "pictures",
) -> tuple[Iterator[Picture], int]:
    """Pictures of the chosen splits in the order of their names, and how many there are.

    labels, splits, content: as in the section `source`; find_origin: what `source.origin` finds in a file's name, where
    it is set. A picture's name is SPLIT/NUMBER with a suffix by its bytes, or SPLIT/NUMBER-FILE where the dataset
    tells files' names. Memory holds one picture at a time. Raises UserError at once where the dataset does not
    have what is asked for; later, where its files are damaged.
    """
    where = f"tfds:{dataset.location}"
    label, chosen = chosen_label(dataset.features, labels, where), chosen_splits(dataset, splits)
    if find_origin and dataset.features.file_name is None:
        raise UserError(f"{where}: tells no file names for source.origin; set it to null")
    reading()  # loads TensorFlow now, so that it does not count as time of the first picture
    name_ending = _ending if content == "pictures" else _no_ending
    return _pictures(dataset, list(chosen), label, find_origin, name_ending), sum(chosen.values())


def _pictures(
    dataset: Dataset,
    splits: list[str],
    label: str | None,
    find_origin: Callable[[str], str] | None,
    name_ending: Callable[[str, bytes], str],
) -> Iterator[Picture]:
    where = f"tfds:{dataset.location}"
    features = dataset.features
    classes = features.labels[label] if label else ()
    for split in splits:
        for index, example in enumerate(_examples(dataset, split, label)):
            encoded = example[features.image]
            if len(encoded) > MEMBER_BYTES:
                raise UserError(f"{where}: example {index} of {split!r} is larger than {MEMBER_BYTES // 2**20} MiB")
            file = _file_name(example[features.file_name]) if features.file_name else ""
            name = checked_name(f"{split}/{index:08d}{name_ending(file, encoded)}", where)
            yield Picture(
                name=name,
                encoded=encoded,
                labels=_labels(int(example[label]), classes) if label else (),
                origin=find_origin(file) if find_origin else name,
            )


def _labels(number: int, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A label's name, or its number where the dataset names none; nothing where it is unknown (-1)."""
    if number < 0:
        return ()
    return (normal(classes[number]) if number < len(classes) else str(number),)


def _file_name(told: bytes) -> str:
    """A file's base name as a name may hold it: no folders, no control characters."""
    base = posixpath.basename(told.decode(errors="replace").replace("\\", "/"))
    return "".join(letter for letter in normal(base) if letter.isprintable())


def _no_ending(file: str, encoded: bytes) -> str:
    return ""  # a text that starts with `BM` is no bitmap


def _ending(file: str, encoded: bytes) -> str:
    suffix = next((suffix for start, suffix in SIGNATURES if encoded.startswith(start)), "")
    if not file:
        return suffix
    return f"-{file}" if file.lower().endswith(PICTURE_SUFFIXES) else f"-{file}{suffix}"


def _examples(dataset: Dataset, split: str, label: str | None) -> Iterator[dict[str, Any]]:
    """Examples of a split in the order in which they are stored, with nothing but what is asked for."""
    tfds, features = library(), dataset.features
    wanted = {name: True for name in (features.image, features.file_name, label) if name}
    decoders = tfds.decode.PartialDecoding(wanted, decoders={features.image: tfds.decode.SkipDecoding()})
    try:
        yield from dataset.builder.as_dataset(
            split=split, shuffle_files=False, decoders=decoders, read_config=reading()
        ).as_numpy_iterator()
    except Exception as error:  # TensorFlow's own kinds, which only TensorFlow names
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"tfds:{dataset.location}: {split!r} cannot be read ({said}); "
            f"the files in {dataset.builder.data_path} are damaged or incomplete: remove them, or copy them again"
        ) from None
