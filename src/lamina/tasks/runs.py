"""What a run is told: its section under `transfer.runs`, `scratch.runs`, `colorize.runs` or `pretext.runs`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, WrapValidator, field_validator

from lamina.config import SEEDS, Config, nearest, validated, named as runs_of
from lamina.errors import UserError
from lamina.models.backbones import (
    BACKBONES,
    GIVEN_WEIGHTS,
    WEIGHTS_SUFFIXES,
    Convention,
    Pooling,
    Precision,
    Preprocess,
)

TUNE: Final = "tune"

Rate: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Dropout: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


def _or_tune(numbers: str) -> WrapValidator:
    """Say in one line what may stand there: pydantic says it in one for each of the two kinds."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"expected a number from {numbers}, or the word tune") from None

    return WrapValidator(check)


def _among(what: str, there: Iterable[str]) -> AfterValidator:
    """Refuse a name that is none of those that are there."""

    def check(name: str) -> str:
        if name in there:
            return name
        near = nearest(name, there)
        meant = f" did you mean {near!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r};{meant} available: {', '.join(there)}")

    return AfterValidator(check)


Augmentation: TypeAlias = Literal["plan", "fresh"]


class Tuned(Config):
    """The three numbers that a run trains with, given or found."""

    learning_rate: Rate
    dropout: Dropout
    decay: Decay


class Run(Config):
    """What every run has. A number is used as it is; the word `tune` has Optuna look for one.

    seed: of the initial weights, the order of batches and dropout; null: the system's. Another one repeats the
    training on the same split.
    patience: training stops after so many epochs without a better validation loss, and the weights of the best epoch
    are kept; null: it goes on to the last epoch, whose weights are kept.
    average: decay of an exponential moving average of the weights, which is judged and kept instead of the weights
    themselves; 0: none.
    """

    measure: ClassVar[Literal["accuracy", "mse"]]  # what tuning looks for and the gate guards
    guarded: ClassVar[bool] = True  # whether the gate does

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: Annotated[Rate | Literal["tune"], _or_tune("0 (excluded) to 1")]
    dropout: Annotated[Dropout | Literal["tune"], _or_tune("0 to 1 (excluded)")]
    decay: Annotated[Decay | Literal["tune"], _or_tune("0 to 1")]
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] | None = None
    patience: Annotated[int, Field(ge=1)] | None = None
    average: Share = 0.0

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Where better values of the measure lie."""
        return "maximize" if self.measure == "accuracy" else "minimize"

    def seed_or(self, default: int) -> int:
        """The run's own seed, or the system's."""
        return default if self.seed is None else self.seed

    @property
    def tunable(self) -> tuple[str, ...]:
        """Names of the numbers that shall be tuned."""
        return tuple(name for name in Tuned.model_fields if getattr(self, name) == TUNE)


class FineTune(Config):
    """What follows where the head has learned: the backbone's last layers learn with it, from pixels.

    layers: how many, counted from the end of the backbone's `layers` in Keras; counted are those that learn
    (convolutions and the like). Batch normalisations neither count nor learn: they stay in inference mode.
    learning_rate: a small one; the decay is the run's, from its start again.
    """

    layers: int = Field(ge=1)
    epochs: int = Field(ge=1)
    learning_rate: Rate


class ClassifierRun(Run):
    """A run that learns to name classes.

    class_weights: of the losses that are learned from; balanced: n / (classes x n of the class), as in scikit-learn.
    label_smoothing: share of each label that is spread evenly over all classes.
    The validation loss is neither weighted nor smoothed, so that runs can be compared by it.
    """

    measure = "accuracy"

    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: Share = 0.0


class OnBackbone(Run):
    """A run whose network begins with a backbone of the zoo.

    weights: `imagenet`, `none`, or the path of a file that another run wrote; watch: the file that DVC watches to
    read the weights again, which is that very path, or, for weights that are no file, any file that is always there.
    precision: what the backbone computes in.
    """

    backbone: Annotated[str, _among("backbone", BACKBONES)]
    weights: str
    watch: str = Field(min_length=1)
    precision: Precision = "float32"

    @field_validator("weights")
    @classmethod
    def _are_there(cls, weights: str, told: ValidationInfo) -> str:
        if weights not in GIVEN_WEIGHTS and not weights.endswith(WEIGHTS_SUFFIXES):
            raise ValueError(f"expected imagenet, none, or the path of a {' or '.join(WEIGHTS_SUFFIXES)} file")
        name = told.data.get("backbone")
        if weights == "imagenet" and name is not None and BACKBONES[name].module is None:
            raise ValueError(f"imagenet: there are none for {name}; set none, or the path of a model that a run wrote")
        return weights

    @field_validator("watch")
    @classmethod
    def _is_watched(cls, watch: str, told: ValidationInfo) -> str:
        weights = told.data.get("weights", "none")
        if weights not in GIVEN_WEIGHTS and watch != weights:
            raise ValueError(f"{watch!r} must equal weights {weights!r}: DVC watches it, to read them again")
        return watch


class TransferRun(OnBackbone, ClassifierRun):
    """A frozen backbone's features under a head of our own; then, with `fine_tune`, the backbone's last layers, too.

    preprocess: what the backbone is given; chroma: color without lightness, as a pretext run's encoder learned it.
    """

    preprocess: Preprocess
    pooling: Pooling
    fine_tune: FineTune | None = None

    @field_validator("preprocess")
    @classmethod
    def _keeps_color(cls, preprocess: str, told: ValidationInfo) -> str:
        # a and b are small differences of large numbers: features were off by 17 % of their spread between pictures
        if preprocess == "chroma" and told.data.get("precision") == "bfloat16":
            raise ValueError("chroma: bfloat16 leaves too little of the color; set precision to float32")
        return preprocess


class ScratchRun(ClassifierRun):
    """A whole network of the zoo from a random start.

    precision: what its layers compute in; weights, their updates and the softmax are float32 either way.
    augmentation: plan: the copies that the section `augment` planned, the same in every epoch; fresh: as many rows
    an epoch, the originals among them, each warped anew in every epoch, within the ranges of the section `augment`.
    """

    network: Annotated[str, _among("network", BACKBONES)]
    precision: Precision = "float32"
    augmentation: Augmentation = "plan"


class ColorizeRun(OnBackbone):
    """A network that gives a picture's lightness its colors: an encoder of the zoo, and a decoder of our own.

    Needs no labels. decoder: dense (fully connected), conv (upsampling), unet (with skips from the encoder's stages).
    loss: mse, of a and b; rebalanced: cross-entropy over bins of a and b, rare colors counting more
    (`lamina.maths.bins`). encoder: whether its weights learn as well. start: whole: the decoder, too, starts from
    `weights`, which are then a colorizer's with the same backbone, decoder and loss, for pictures about as large.
    precision: what all layers compute in. augmentation: as of a scratch run; the plan's flips, turns and shifts, but
    not its gains: colors stay true.
    flip_tta: whether what is saved answers with the mean of the colors of a picture and of its mirror image, in twice
    the time; while it learns, it is judged by the picture alone.
    """

    measure = "mse"

    preprocess: Convention  # grey has no chroma
    decoder: Literal["dense", "conv", "unet"]
    loss: Literal["mse", "rebalanced"]
    encoder: Literal["frozen", "trainable"]
    start: Literal["encoder", "whole"] = "encoder"
    augmentation: Augmentation = "plan"
    flip_tta: bool = False

    @field_validator("loss")
    @classmethod
    def _has_room(cls, loss: str, told: ValidationInfo) -> str:
        if loss == "rebalanced" and told.data.get("decoder") == "dense":
            raise ValueError("a logit per place and bin is too much for the decoder dense; take conv or unet, or mse")
        return loss

    @field_validator("start")
    @classmethod
    def _starts_somewhere(cls, start: str, told: ValidationInfo) -> str:
        if start == "whole" and told.data.get("weights") in GIVEN_WEIGHTS:
            raise ValueError("whole: weights must then be the path of a colorizer's model.keras; expected encoder here")
        return start


class PretextRun(OnBackbone):
    """A network that tells lightness from color, so that its encoder serves classifiers where labels are few.

    Needs no labels. All of it learns from a and b of CIELAB: a transfer run that takes its weights needs
    `preprocess: chroma`. decoder, precision, augmentation: as of a run that colors. It is a means, which no gate
    guards.
    """

    measure = "mse"
    guarded = False

    decoder: Literal["conv", "unet"]
    augmentation: Augmentation = "plan"


def warps_anew(run: Run) -> bool:
    """Whether a run needs the section `augment`, within whose ranges every epoch warps pictures anew."""
    return isinstance(run, ScratchRun | ColorizeRun | PretextRun) and run.augmentation == "fresh"


KINDS: Final[Mapping[str, type[Run]]] = {
    "transfer": TransferRun,
    "scratch": ScratchRun,
    "colorize": ColorizeRun,
    "pretext": PretextRun,
}


def run_names(params: Mapping[str, Any]) -> dict[str, str]:
    """Every run of `params.yaml` in order, with its kind.

    Raises UserError where a group is no mapping of runs, a name breaks the rule, or stands twice.
    """
    kinds: dict[str, str] = {}
    for kind in KINDS:
        for name in runs_of(params, kind):
            if name in kinds:
                raise UserError(f"params.yaml: run {name!r} stands under both {kinds[name]} and {kind}; rename one")
            kinds[name] = kind
    return kinds


def read_run(params: Mapping[str, Any], name: str) -> tuple[str, Run]:
    """The kind and the settings of one run. Raises UserError listing the runs where there is no such one."""
    kinds = run_names(params)
    if name not in kinds:
        raise UserError(f"params.yaml: no run {name!r}; there are: {', '.join(kinds) or 'none'}")
    kind = kinds[name]
    return kind, validated(runs_of(params, kind)[name], f"{kind}.runs.{name}", KINDS[kind])
