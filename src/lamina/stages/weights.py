"""Stage `weights`: what training may start from. Published weights are fetched once, and kept under DVC.

`dvc push` and `dvc pull` then carry them to machines that reach no other server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Strict

from lamina.config import Config, read_params, validated
from lamina.files import staged
from lamina.models.backbones import BACKBONES, fetch_weights
from lamina.progress import progress
from lamina.stages import entry
from lamina.training.settings import among

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
    """Facts of all published weights that were fetched, by their place in the folder."""

    fetched: Mapping[str, Mapping[str, str]]

    def __str__(self) -> str:
        lines = [f"weights: random, and {len(self.fetched)} published"]
        lines += [f"{place}: {facts['license']}; from {facts['source']}" for place, facts in self.fetched.items()]
        return "\n".join(lines)


def weights(config: WeightsConfig, out: Path) -> WeightsSummary:
    """Write `random`, and published weights as `KIND/NAME.weights.h5`, to the folder `out`.

    Raises:
        UserError: if weights cannot be fetched.
    """
    wanted = [(kind, name) for kind, names in config for name in names]
    fetched = {}
    with staged(out, folder=True) as part:
        (part / "random").write_text("random initial weights, drawn from the seed\n", encoding="utf-8")
        for kind, name in progress(wanted, what="weights", unit="networks"):
            (part / kind).mkdir(exist_ok=True)
            fetched[f"{kind}/{name}"] = fetch_weights(kind, name, part / kind / f"{name}.weights.h5")
    return WeightsSummary(fetched=fetched)


def main() -> None:
    config = validated(read_params(Path()).get("weights") or {}, "weights", WeightsConfig)
    print(weights(config, Path("weights")))


if __name__ == "__main__":
    entry.run(main)
