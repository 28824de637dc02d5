"""Reads the encoded pictures of a TensorFlow Datasets (TFDS) dataset."""

import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Final

import numpy as np

from lamina.data.sources.catalog import find_builder, full_location, known_names, library, prepare_dataset, read_config
from lamina.data.sources.members import PICTURE_SUFFIXES, Picture, check_size, checked_name, to_nfc
from lamina.errors import UserError
from lamina.quiet_stderr import quiet_stderr

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
    """The features of a dataset that a source needs.

    Attributes:
        image: Feature of the pictures.
        file_name: Feature of their file names, if there is one.
        labels: Names of the classes by ClassLabel feature.
        main_label: The label that the dataset declares as its target, or its only one.
    """

    image: str
    file_name: str | None
    labels: Mapping[str, tuple[str, ...]]
    main_label: str | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a split: its examples from `start` up to, not including, `stop`."""

    split: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A prepared dataset.

    Attributes:
        location: Full name with configuration and version.
        features: The features to read.
        splits: Number of pictures in each split.
        builder: The builder of the library.
    """

    location: str
    features: Features
    splits: Mapping[str, int]
    builder: Any


def open_dataset(location: str, labels: str | None = None, content: str = "pictures") -> Dataset:
    """Open a dataset; download and prepare it first if necessary.

    Args:
        location: As in the section `source`.
        labels: As in the section `source`; checked before the download.
        content: As in the section `source`.

    Raises:
        UserError: If the dataset does not exist, cannot be prepared, or is no source of such content.
    """
    where = f"tfds:{location}"
    builder = find_builder(location)
    features = read_features(builder, where, content)
    if labels is not None:
        chosen_label(features, labels, where)
    prepare_dataset(builder, where)
    splits = {name: int(split.num_examples) for name, split in sorted(builder.info.splits.items())}
    return Dataset(
        location=full_location(builder),
        features=read_features(builder, where, content),  # again: some know their classes only after the download
        splits=splits,
        builder=builder,
    )


def read_features(builder: Any, where: str, content: str = "pictures") -> Features:
    """Find the features of a dataset.

    Args:
        builder: The builder of the library.
        where: Name of the dataset in error messages.
        content: `pictures`, or `texts`, which are the feature `image` then.

    Raises:
        UserError: If it has no such content, or several per example and no main one.
    """
    kinds = library().features
    declared = builder.info.features
    features = dict(declared.items()) if isinstance(declared, kinds.FeaturesDict) else {}
    keys = [key for key in builder.info.supervised_keys or () if isinstance(key, str)]
    images = _of_kind(features, kinds.Image, but=kinds.LabeledImage)
    texts = _of_kind(features, kinds.Text)
    labels = _of_kind(features, kinds.ClassLabel)
    file_names = [name for name in texts if _is_file_name(name)]
    listed = ", ".join(f"{name}: {type(one).__name__}" for name, one in features.items())
    if content == "texts":
        image = _text_feature([name for name in texts if name not in file_names], keys[:1], listed, where)
        file_names = []
    elif images:
        image = _image_feature(images, keys[:1], where)
    else:
        what = "texts, not pictures" if texts else "no pictures"
        raise UserError(f"{where}: holds {what} ({listed or type(declared).__name__}); choose a dataset of images")
    return Features(
        image=image,
        file_name=next(iter(file_names), None),
        labels={name: tuple(label.names) if label.num_classes else () for name, label in labels.items()},
        main_label=_main(labels, keys[1:2]),
    )


def _image_feature(images: Mapping[str, Any], keys: list[str], where: str) -> str:
    image = _main(images, keys, "image")
    if image is None:
        raise UserError(
            f"{where}: has several pictures per example ({', '.join(images)}), and no main one; choose another dataset"
        )
    kind = np.dtype(images[image].np_dtype).name
    if kind not in ("uint8", "uint16"):
        raise UserError(f"{where}: {image} holds {kind} numbers, expected uint8 or uint16; choose another dataset")
    return image


def _text_feature(texts: list[str], keys: list[str], listed: str, where: str) -> str:
    if not texts:
        raise UserError(
            f"{where}: holds no texts ({listed}); choose a dataset of texts, or set source.content: pictures"
        )
    text = _main(texts, keys, "text")
    if text is None:
        raise UserError(f"{where}: has several texts an example ({', '.join(texts)}), and does not say which is meant")
    return text


def _of_kind(features: Mapping[str, Any], kind: Any, but: Any = ()) -> dict[str, Any]:
    return {name: one for name, one in sorted(features.items()) if isinstance(one, kind) and not isinstance(one, but)}


def _main(found: Collection[str], keys: list[str], usual: str = "") -> str | None:
    """The feature that the dataset declares as its main one, or the only one, or the one with the usual name."""
    candidates = (*keys, *(found if len(found) == 1 else ()), usual)
    return next((name for name in candidates if name in found), None)


def _is_file_name(feature: str) -> bool:
    return feature.rpartition("/")[2].replace("_", "").lower().endswith("filename")


def chosen_label(features: Features, labels: str, where: str) -> str | None:
    """Return the label feature that `source.labels` selects; None for `none`.

    Args:
        features: Features of the dataset.
        labels: The value of `source.labels`.
        where: Name of the dataset in error messages.

    Raises:
        UserError: If there is no such label, or `folder` is set and there is no main one.
    """
    if labels == "none" or labels in features.labels:
        return None if labels == "none" else labels
    if not features.labels:
        raise UserError(f"{where}: none of its features is a label (ClassLabel); set source.labels to none")
    if labels != "folder":
        raise UserError(
            f"{where}: source.labels {labels!r} is none of its labels{known_names(labels, features.labels)}"
        )
    if features.main_label is None:
        raise UserError(f"{where}: has several labels; set source.labels to one{known_names('label', features.labels)}")
    return features.main_label


def usual_label(features: Features, where: str) -> str:
    """Return a default for `source.labels`: `folder`, or the first of several labels. Raises UserError without any."""
    if len(features.labels) < 2 or features.main_label:
        chosen_label(features, "folder", where)
        return "folder"
    return next(iter(features.labels))


def chosen_parts(dataset: Dataset, splits: tuple[str, ...] | None) -> list[Part]:
    """Return the parts of the dataset to read, in the order of the pictures' names.

    Args:
        dataset: A prepared dataset.
        splits: Names of splits or, in the notation of the library, of parts of them: `train[:10%]`, `test[500:900]`;
            None: all splits.

    Raises:
        UserError: If a split does not exist, a part holds nothing, or two overlap.
    """
    known = dataset.builder.info.splits
    parts = set()
    for name in dataset.splits if splits is None else splits:
        where = f"tfds:{dataset.location}: source.splits:"
        split = re.split(r"[\[+]", name)[0]
        if split not in dataset.splits:
            raise UserError(f"{where} no split {name!r}{known_names(name, dataset.splits)}")
        try:
            (found,) = library().core.ReadInstruction.from_spec(name).to_absolute(known)
            # None is the end of the split; 0 is where 1 % of a few pictures ends
            start, stop = found.from_ or 0, dataset.splits[split] if found.to is None else found.to
        except (AssertionError, ValueError):
            start, stop = 0, 0
        if start >= stop:
            raise UserError(
                f"{where} {name!r} is no part of a split, or holds nothing; write it as train[:10%] or train[50:90]"
            )
        parts.add(Part(split=split, start=start, stop=stop))
    ordered = sorted(parts, key=lambda part: (f"{part.split}/", part.start, part.stop))
    for one, other in pairwise(ordered):
        if one.split == other.split and other.start < one.stop:
            raise UserError(f"{where} two parts hold {one.split} {other.start}; give parts that do not overlap")
    return ordered


def read_pictures(
    dataset: Dataset,
    labels: str,
    splits: tuple[str, ...] | None = None,
    find_origin: Callable[[str], str] | None = None,
    content: str = "pictures",
) -> tuple[Iterator[Picture], int]:
    """Read the pictures of the chosen splits, one at a time, in the order of their names.

    A picture's name is SPLIT/NUMBER with a suffix by its bytes, or SPLIT/NUMBER-FILE if the dataset has file names;
    the number counts from the start of the whole split.

    Args:
        dataset: A prepared dataset.
        labels: As in the section `source`.
        splits: As in the section `source`.
        find_origin: Returns the origin for a file name, if `source.origin` is set.
        content: As in the section `source`.

    Returns:
        The pictures (or texts) and their number.

    Raises:
        UserError: At once if the dataset has no such labels, splits or file names; later if its files are damaged.
    """
    where, features = f"tfds:{dataset.location}", dataset.features
    label, parts = chosen_label(features, labels, where), chosen_parts(dataset, splits)
    if find_origin and features.file_name is None:
        raise UserError(f"{where}: has no file names for source.origin; set it to null")
    read_config()  # loads TensorFlow now, so that the progress bar does not count it as the first picture

    def pictures(part: Part) -> Iterator[Picture]:
        for index, example in enumerate(_examples(dataset, part, label), part.start):
            encoded = example[features.image]
            file = _file_name(example[features.file_name]) if features.file_name else ""
            ending = _ending(file, encoded) if content == "pictures" else ""  # a text that starts with BM is no bitmap
            name = checked_name(f"{part.split}/{index:08d}{ending}", where)
            check_size(len(encoded), name, where)
            yield Picture(
                name=name,
                encoded=encoded,
                labels=_labels(int(example[label]), features.labels[label]) if label else (),
                origin=find_origin(file) if find_origin else name,
            )

    return chain.from_iterable(map(pictures, parts)), sum(part.stop - part.start for part in parts)


def _labels(number: int, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The name of a label, or its number if it has no name; empty if it is unknown (-1)."""
    if number < 0:
        return ()
    return (to_nfc(classes[number]) if number < len(classes) else str(number),)


def _file_name(path: bytes) -> str:
    """The base name of a file, without control characters."""
    base = posixpath.basename(path.decode(errors="replace").replace("\\", "/"))
    return "".join(letter for letter in to_nfc(base) if letter.isprintable())


def _ending(file: str, encoded: bytes) -> str:
    suffix = next((suffix for start, suffix in SIGNATURES if encoded.startswith(start)), "")
    if not file:
        return suffix
    return f"-{file}" if file.lower().endswith(PICTURE_SUFFIXES) else f"-{file}{suffix}"


def _examples(dataset: Dataset, part: Part, label: str | None) -> Iterator[dict[str, Any]]:
    """Examples of a part in their stored order, with the needed features only."""
    tfds, features = library(), dataset.features
    needed = {name: True for name in (features.image, features.file_name, label) if name}
    decoders = tfds.decode.PartialDecoding(needed, decoders={features.image: tfds.decode.SkipDecoding()})
    try:
        with quiet_stderr():  # without a GPU, TensorFlow reports an error of CUDA here
            examples = dataset.builder.as_dataset(
                split=f"{part.split}[{part.start}:{part.stop}]",
                shuffle_files=False,
                decoders=decoders,
                read_config=read_config(),
            ).as_numpy_iterator()
        yield from examples
    except Exception as error:  # TensorFlow's own exceptions, which this module must not import
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"tfds:{dataset.location}: {part.split!r} cannot be read ({reason}); "
            f"the files in {dataset.builder.data_path} are damaged or incomplete: remove them, or copy them again"
        ) from None
