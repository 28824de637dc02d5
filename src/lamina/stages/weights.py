"""Stage `weights`: what training may start from. Published weights are fetched once, and kept under DVC.

`dvc push` and `dvc pull` then carry them to machines that reach no other server.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Strict

from lamina.config import Config, read_params, validated
from lamina.files import staged
from lamina.models.backbones import BACKBONES, fetch_imagenet
from lamina.progress import progress
from lamina.stages import entry
from lamina.training.settings import among


class WeightsConfig(Config):
    """Section `weights` of params.yaml. imagenet: the networks whose ImageNet weights the system uses."""

    imagenet: Annotated[tuple[Annotated[str, among("network", BACKBONES)], ...], Strict(False)] = ()


@dataclass(frozen=True, kw_only=True)
class WeightsSummary:
    """How many files of published weights there are."""

    imagenet: int

    def __str__(self) -> str:
        return f"weights: random, and {self.imagenet} from ImageNet"


def weights(config: WeightsConfig, out: Path) -> WeightsSummary:
    """Write `random` and `imagenet/NAME.weights.h5` to the folder `out`.

    Raises:
        UserError: if weights cannot be fetched.
    """
    with staged(out, folder=True) as part:
        (part / "random").write_text("random initial weights, drawn from the seed\n", encoding="utf-8")
        for name in progress(config.imagenet, what="weights", unit="networks"):
            fetch_imagenet(name, part / "imagenet" / f"{name}.weights.h5")
    return WeightsSummary(imagenet=len(config.imagenet))


def main() -> None:
    config = validated(read_params(Path()).get("weights") or {}, "weights", WeightsConfig)
    print(weights(config, Path("weights")))


if __name__ == "__main__":
    entry.run(main)
