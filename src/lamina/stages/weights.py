"""Stage `weights`: what training may start from. Published weights are fetched once, and kept under DVC.

License, training data and reference are printed before, source and SHA-256 after. `dvc push` and `dvc pull` then carry
them to machines that reach no other server.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Strict

from lamina.config import Config, read_params, validated
from lamina.files import file_digest, staged
from lamina.models.backbones import BACKBONES, fetch_weights, published_facts
from lamina.progress import progress
from lamina.stages import entry
from lamina.training.settings import among

_PICTURES: Final = ", whose pictures are for non-commercial research"

Networks = Annotated[tuple[Annotated[str, among("network", BACKBONES)], ...], Strict(False)]


class WeightsConfig(Config):
    """Section `weights` of params.yaml: for each kind of published weights, the networks that the system starts from.

    Attributes:
        imagenet: trained on the 1,000 classes of ImageNet.
        edges: trained on edges (`docs/networks.md`).
    """

    imagenet: Networks = ()
    edges: Networks = ()


@dataclass(frozen=True, kw_only=True)
class WeightsSummary:
    """Facts of all published weights that were fetched, by their place in the folder.

    `sha256` is that of the file in the package; for weights that Keras fetched, of the file that was written.
    """

    fetched: Mapping[str, Mapping[str, str]]

    def __str__(self) -> str:
        lines = [f"weights: random, and {len(self.fetched)} published"]
        lines += [f"{place}: from {one['source']}; SHA-256 {one['sha256']}" for place, one in self.fetched.items()]
        return "\n".join(lines)


def weights(config: WeightsConfig, out: Path) -> WeightsSummary:
    """Write `random`, and published weights as `KIND/NAME.weights.h5`, to the folder `out`.

    Raises:
        UserError: if weights cannot be fetched.
    """
    wanted = [(kind, name) for kind, names in config for name in names]
    fetched = {}
    with staged(out, folder=True) as part:
        (part / "random").write_text("random initial weights, drawn from the seed\n", encoding="utf-8", newline="\n")
        for kind, name in progress(wanted, what="weights", unit="networks"):
            (part / kind).mkdir(exist_ok=True)
            path = part / kind / f"{name}.weights.h5"
            print(_terms(kind, name), file=sys.stderr, flush=True)
            facts = fetch_weights(kind, name, path)
            fetched[f"{kind}/{name}"] = {"sha256": file_digest(path)} | facts
    return WeightsSummary(fetched=fetched)


def _terms(kind: str, name: str) -> str:
    """Say in one line under which license weights are, what they were trained on, and who published them."""
    facts = published_facts(kind, name)
    pictures = _PICTURES if "ImageNet" in facts["trained_on"] else ""
    return (
        f"{kind}/{name}: license {facts['license']}; trained on {facts['trained_on']}{pictures}; "
        f"reference: {facts['reference']}"
    )


def main() -> None:
    config = validated(read_params(Path()).get("weights") or {}, "weights", WeightsConfig)
    print(weights(config, Path("weights")))


if __name__ == "__main__":
    entry.run_stage(main)
