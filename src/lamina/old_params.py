"""What `params.yaml` was called in lamina 0.1: for each old key or value, what to write instead."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lamina.errors import UserError

_GROUP: Final = "the section is gone; write each of its runs under runs, as NAME: "

# A place is a path of keys; `*` stands for any name; `=value` limits it to one value.
OLD: Final[Mapping[str, str]] = {
    "code": "remove it; lamina finds its own modules",
    "transfer": _GROUP + "{task: classify, input: features/NAME, weights: weights/random, epochs: ...}, and under "
    "features, as NAME: {backbone, weights, pooling, preprocess, precision}",
    "scratch": _GROUP + "{task: classify, input: pixels, weights: weights/random, network: ...}",
    "colorize": _GROUP + "{task: colorize, input: pixels, weights: weights/random, encoder: ...}",
    "pretext": _GROUP + "{task: lightness, input: pixels, weights: weights/random, encoder: ...}",
    "source.watch": "remove it",
    "convert.fit": "write convert.resize",
    "split.given": "write split.test_pattern",
    "split.join_alike": "write split.merge_near_duplicates",
    "runs.*.watch": "remove it",
    "runs.*.backbone": "write encoder where the run's input is pixels; for input: features/NAME write it under "
    "features.NAME",
    "runs.*.average": "write ema_decay",
    "runs.*.mirrored": "write flip_tta",
    "runs.*.start": "write initialize",
    "runs.*.preprocess=own": "write preprocess: native",
    "runs.*.weights=none": "write weights: weights/random",
    "runs.*.weights=imagenet": "list the network under weights.imagenet and write weights: "
    "weights/imagenet/NAME.weights.h5",
    "runs.*.encoder=frozen": "write encoder: NAME of a network, and trainable: false",
    "runs.*.encoder=trainable": "write encoder: NAME of a network, and trainable: true",
    "features.*.watch": "remove it",
    "features.*.preprocess=own": "write preprocess: native",
    "features.*.weights=none": "write weights: weights/random",
    "features.*.weights=imagenet": "list the network under weights.imagenet and write weights: "
    "weights/imagenet/NAME.weights.h5",
}


def check_old(params: Mapping[str, Any]) -> None:
    """Refuse what lamina 0.1 wrote in `params.yaml`.

    Args:
        params: content of `params.yaml`, of any shape below the top.

    Raises:
        UserError: an old key or value is there; the message says what to write instead.
    """
    for pattern, remedy in OLD.items():
        place, _, value = pattern.partition("=")
        found = next((where for where, there in _found(params, place.split(".")) if value in ("", there)), None)
        if found:
            shown = f"{found}: {value}" if value else found
            raise UserError(f"params.yaml: {shown} is from lamina 0.1; {remedy}")


def _found(params: Any, place: list[str]) -> Iterator[tuple[str, Any]]:
    """Every path of keys that fits a place, with its value."""
    key, *rest = place
    if not isinstance(params, Mapping):
        return
    for name in params if key == "*" else [key] if key in params else []:
        if not rest:
            yield str(name), params[name]
        for where, value in _found(params[name], rest) if rest else ():
            yield f"{name}.{where}", value
