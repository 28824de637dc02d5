"""Check all of params.yaml at once, as the stages check it one after the other."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lamina.config import Config, Params, check_references, named, section, validated
from lamina.data.augmentation import AugmentConfig
from lamina.data.drift import ValidateConfig
from lamina.data.filters import FilterConfig
from lamina.data.pixels import ConvertConfig
from lamina.data.sources.config import SourceConfig
from lamina.data.text_filters import TextFilterConfig
from lamina.errors import UserError
from lamina.inputs.features import FeaturesSettings
from lamina.maths.splits import SplitConfig
from lamina.stages import assess, entry, watch, words
from lamina.stages.weights import WeightsConfig
from lamina.tasks.ensembles import read_ensembles
from lamina.tasks.runs import read_run
from lamina.tuning.search import TuneConfig

Sections = Mapping[str, type[Config]]

OF_TEXTS: Final[Sections] = MappingProxyType({"split": SplitConfig, "tune": TuneConfig})
OF_PICTURES: Final[Sections] = MappingProxyType(
    {"filter": FilterConfig, "convert": ConvertConfig, "augment": AugmentConfig, **OF_TEXTS}
)


def check_params(params: Params) -> None:
    """Check every section, and each run by its task, as the stages of the system's pipeline do.

    Args:
        params: content of `params.yaml`, as `read_params` returns it.

    Raises:
        UserError: the first mistake, with its place.
    """
    entry.seed(params)
    watch.check_seen(params)
    source = section(params, "source", SourceConfig)
    texts = source.content == "texts"
    for name, kind in (OF_TEXTS if texts else OF_PICTURES).items():
        section(params, name, kind)
    _check_columns(section(params, "split", SplitConfig), source)
    validated(params.get("validate", {}), "validate", ValidateConfig)
    if texts:
        validated(params.get("filter", {}), "filter", TextFilterConfig)
        for name in named(params, "words"):
            words.read_settings(params, name)
    else:
        validated(params.get("weights") or {}, "weights", WeightsConfig)
        for name, given in named(params, "features").items():
            validated(given, f"features.{name}", FeaturesSettings)
    for name in named(params, "runs"):
        _check_run(params, name, source)
    assess.read_config(params)
    watch.check_folds(params.get("assess") or {})
    read_ensembles(params)
    check_references(params)


def _check_run(params: Params, name: str, source: SourceConfig) -> None:
    task = read_run(params, name).task
    if task.uses_metadata and source.metadata is None:
        raise UserError(
            f"params.yaml: runs.{name}: the task {task.name} learns from columns of source.metadata, which is null; "
            "name a CSV there"
        )


def _check_columns(split: SplitConfig, source: SourceConfig) -> None:
    for name, column in (("hold_out", split.hold_out), ("stratify", split.stratify)):
        if column is not None and source.metadata is None:
            raise UserError(
                f"params.yaml: split.{name}: names a column of source.metadata, which is null; name a CSV there"
            )
