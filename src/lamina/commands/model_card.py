"""The card of a model: a README.md as the Hugging Face Hub reads it, made of the records of a run."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from lamina.charts.formatting import SMALL, number, span, title_of
from lamina.commands.markdown import escaped, front_matter, table
from lamina.config import read_params, section
from lamina.data.pixels import ConvertConfig
from lamina.files import file_digest
from lamina.results.assessment import Assessment, TargetControl, read_assessment
from lamina.results.evaluated import require_evaluated
from lamina.results.folders import made_by, results_folder
from lamina.results.metrics import Metrics, Scores
from lamina.results.record import Record, read_record, system_name
from lamina.results.result_file import read_result
from lamina.results.serving import Serving
from lamina.tasks.ensembles import task_and_input
from lamina.tasks.registry import TASKS

# how the Hub names measures, where it does so otherwise
HUB_MEASURES: Final[Mapping[str, str]] = MappingProxyType(
    {"macro_f1": "f1", "brier": "brier_score", "r2": "r_squared", "spearman": "spearmanr"}
)
# what a score is compared with, and no score of the model itself
BASELINES: Final = ("majority", "majority_f1", "baseline")
BASELINE_SUFFIXES: Final = ("_grey", "_mean", "_true", "_difference")

ORIGINS: Final[Mapping[str, str]] = MappingProxyType({"pictures": "a patient or a plant", "texts": "their author"})
OTHERS: Final[Mapping[str, str]] = MappingProxyType({"pictures": "camera, laboratory", "texts": "author, subject"})
MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accuracy": "share of correct answers",
        "f1": "F1 of the labels of each example, mean: 1 where all are right",
        "macro_f1": "mean over the classes (or labels) of F1, in which each counts the same",
        "micro_f1": "F1 over all decisions about a label together",
        "mean_average_precision": "average precision, mean over the labels; it needs no threshold",
        "roc_auc": "area under the ROC curve, mean over the labels; 0.5: chance",
        "subset_accuracy": "share of examples with exactly the right labels",
        "label_accuracy": "share of right decisions, one for each label of each example",
        "majority_f1": "for comparison: F1 of always giving the labels that at least half of the examples have",
        "majority": "for comparison: the accuracy of always answering the most frequent class",
        "ece": "expected calibration error: how far probabilities are from the rates of correct answers",
        "brier": "squared error of the probabilities, 0 to 2",
        "log_loss": "minus the logarithm of the probability of the true class, mean",
        "mae": "mean absolute error, in the unit of the number: lower is better",
        "rmse": "root of the mean squared error, in the same unit: large errors count more",
        "r2": "share of the squared deviations from the mean that is gone; 0 or less: no better than it",
        "spearman": "correlation of the ranks, -1 to 1",
        "bias": "mean of prediction minus true number",
        "held": "share of the numbers that lie between the two that are given with each prediction",
        "mse": "mean squared error",
        "baseline": "for comparison: the error of always answering the mean",
        "psnr": "peak signal-to-noise ratio, dB: higher is better",
        "ssim": "structural similarity, at most 1",
        "ciede2000": "color difference as eyes see it: lower is better",
        "colorfulness": "how vivid it is, right or wrong",
        "auc": "mean closeness of a and b to the true ones, at most 1",
        "auc_rebalanced": "the same, in which rare colors count as much as frequent ones",
    }
)


def model_card(system: Path, name: str, license_id: str = "unknown") -> str:
    """Return the card of a run or an ensemble.

    Args:
        system: Folder of the system.
        name: Of the run or ensemble.
        license_id: Of the model, as the Hub names licenses.

    Raises:
        UserError: If there is no such run, or it is not trained and evaluated.
    """
    task, _ = task_and_input(read_params(system), name)
    folder = results_folder(system, name)
    record = read_record(folder)
    require_evaluated(folder)
    metrics = read_result(folder / "metrics.json", task.metrics_class(), made_by(folder, "evaluate"))
    assessment = read_assessment(folder, record.key)
    about, serving = system_name(system), task.serving(record)
    parts = [
        f"# {escaped(about)}: {name}",
        _summary(record, serving, metrics.test),
        "## Scores",
        _scores(metrics, _noun(serving)),
        *_per_class(metrics.test),
        *_per_label(metrics.test),
        *_again(assessment, metrics.test.measure),
        "## What it learned from",
        _learned(record, _noun(serving)),
        "## Limits",
        _limits(system, record, serving, metrics.test),
        "## How to use it",
        _use(record, serving),
        "## What it is",
        _identity(record, folder / "model.keras"),
    ]
    return front_matter(_head(about, record, license_id, serving, metrics.test)) + "\n" + "\n\n".join(parts) + "\n"


def _head(about: str, record: Record, license_id: str, serving: Serving, test: Scores) -> dict[str, Any]:
    """The front matter: the Hub shows the measured values in its own tables."""
    measured = {key: value for key, value in _plain(test).items() if not _is_baseline(key)}
    hub = {key: key if (named := HUB_MEASURES.get(key, key)) in measured else named for key in measured}
    entries = [
        {"type": hub[key], "value": _rounded(value), "name": title_of(key)} | _interval_of(test, key)
        for key, value in measured.items()
    ]
    tag = pipeline_tag(record, serving)
    result = {"task": {"type": tag}, "dataset": {"type": about, "name": about, "split": "test"}, "metrics": entries}
    return {
        "license": license_id,
        "library_name": "keras",
        "pipeline_tag": tag,
        "tags": ["lamina"],
        "datasets": [about],
        "metrics": list(hub.values()),
        "model-index": [{"name": record.run, "results": [result]}],
    }


def pipeline_tag(record: Record, serving: Serving) -> str:
    """Return the Hub's name of what a model does; it has none for numbers of pictures."""
    if record.classes:
        return "text-classification" if serving.inputs is None else "image-classification"
    return "image-to-image" if serving.outputs and len(serving.outputs) == 4 else "other"


def _interval_of(test: Scores, key: str) -> dict[str, Any]:
    """The 95 % interval of a score, and what it is counted over, as the Hub's `args`."""
    scalars = test.scalars()
    if f"{key}_low" not in scalars:
        return {}
    ends = [_rounded(scalars[f"{key}_{end}"]) for end in ("low", "high")]
    return {"args": {"interval_95": ends, "n": test.n, "origins": test.origins}}


def _rounded(value: float) -> float:
    """Round to four decimals; small values, as of a number in a large unit, to four digits."""
    return round(value, 4) if abs(value) >= SMALL else float(f"{value:.4g}")


def _is_baseline(key: str) -> bool:
    return key in BASELINES or key.endswith(BASELINE_SUFFIXES)


def _plain(scores: Scores) -> dict[str, float]:
    """Return the scores by name, without counts, ends of intervals and those of single classes."""
    scalars = scores.scalars()
    single = _by_name(scores, "per_class") | _by_name(scores, "per_label")
    of_classes = {
        f"{kind}_{middle}{label}" for label, score in single.items() for kind, _ in score for middle in ("", "label_")
    }
    ends = {f"{name}_{end}" for name in scalars for end in ("low", "high")}
    return {name: value for name, value in scalars.items() if name not in {"n", "origins"} | of_classes | ends}


def _by_name(scores: Scores, key: str) -> dict[str, Any]:
    """Return the scores of single classes (`per_class`) or labels (`per_label`); of other tasks none."""
    return dict(getattr(scores, key, {}))


def _noun(serving: Serving) -> str:
    return "texts" if serving.inputs is None else "pictures"


def _summary(record: Record, serving: Serving, test: Scores) -> str:
    what = _noun(serving)
    does = f"does the task `{record.task}` on {what}"
    names = ", ".join(map(escaped, record.classes))
    if "targets" in record.settings:
        does = f"gives {what} any number of {len(record.classes)} labels: {names}"
    elif target := record.settings.get("target"):
        does = f"predicts a number from {what}: `{target}`"
    elif record.classes:
        does = f"classifies {what} into {len(record.classes)} classes: {names}"
    made = f" It is the mean of the runs {', '.join(record.members)}." if record.members else ""
    interval = f" (95 % interval {span(test.interval)})" if test.interval else ""
    title = title_of(test.measure)
    return (
        f"A model that {does}.{made} {title[0].upper()}{title[1:]} on {test.n:,} {what} that neither training "
        f"nor any choice has seen: **{number(test.value)}**{interval}."
    )


def _scores(metrics: Metrics, what: str) -> str:
    test, validation = metrics.test, metrics.validation
    scalars = test.scalars()
    rows = [
        (
            title_of(key),
            number(value),
            span((scalars[f"{key}_low"], scalars[f"{key}_high"])) if f"{key}_low" in scalars else "",
            MEANINGS.get(key, ""),
        )
        for key, value in _plain(test).items()
    ]
    return (
        f"On the test fold: {test.n:,} {what} of {test.origins:,} origins. An origin is what {what} have in common, "
        f"such as {ORIGINS[what]}: all of one origin are in one fold, and intervals are counted over origins.\n\n"
        f"{table(('score', 'value', '95 % interval', ''), rows)}\n\n"
        f"On the validation fold, which training and tuning were guided by: {title_of(test.measure)} "
        f"{number(validation.value)} ({validation.n:,} {what})."
    )


def _per_class(test: Scores) -> list[str]:
    rows = [
        (label, number(score.precision), number(score.recall), number(score.f1), score.n)
        for label, score in _by_name(test, "per_class").items()
    ]
    return ["### By class", table(("class", "precision", "recall", "F1", "in the test fold"), rows)] if rows else []


def _per_label(test: Scores) -> list[str]:
    rows = [
        (
            label,
            f"{score.threshold:.3g}",
            *(
                "" if value is None else number(value)
                for value in (score.average_precision, score.precision, score.recall, score.f1)
            ),
            score.n,
        )
        for label, score in _by_name(test, "per_label").items()
    ]
    head = ("label", "given from", "average precision", "precision", "recall", "F1", "in the test fold")
    return ["### By label", table(head, rows)] if rows else []


def _again(assessment: Assessment, measure: str) -> list[str]:
    """What training it again showed; empty if nothing was trained again."""
    lines = []
    if repeats := assessment.repeats:
        values = ", ".join(map(number, repeats.test.values))
        lines.append(f"- Trained again with other seeds, on the same data: test {title_of(measure)} {values}.")
    if crossed := assessment.crossvalidation:
        value, interval = crossed.scores[measure], crossed.scores.get("interval")
        shown = f" (95 % interval {span(interval)})" if interval else ""
        lines.append(
            f"- Cross-validated in {len(crossed.folds)} rounds over whole origins: {title_of(measure)} "
            f"{number(value)}{shown}."
        )
    if control := assessment.control:
        of_targets = isinstance(control, TargetControl)
        found = f"**which is {'better' if of_targets else 'more'}: there may be a leak**"
        verdict = "as it must be" if control.passed else found
        reached = f"a test {title_of(measure)} of " if of_targets else ""
        lines.append(
            f"- Trained with {control.shuffled} it reaches {reached}{number(control.value)}; chance gives "
            f"{span(control.interval)}: {verdict}."
        )
    return ["### Trained again", "\n".join(lines)] if lines else []


def _learned(record: Record, what: str) -> str:
    rows = record.data.get("rows", {})
    counts = ", ".join(f"{count:,} for {fold}" for fold, count in rows.items())
    learned = f"Rows, of {what} and their augmented copies" if what == "pictures" else what.capitalize()
    lines = [f"{learned}: {counts}."] if counts else []
    if weights := record.data.get("weights"):
        facts = {key: weights[key] for key in ("trained_on", "source", "license", "reference") if key in weights}
        lines.append("It started from published weights:")
        lines.append(table(("weights", ""), [(key.replace("_", " "), value) for key, value in facts.items()]))
    settings = {
        name: record.numbers.get(name, value) for name, value in record.settings.items() if value not in (None, {})
    }
    shown = [(name, ", ".join(value) if isinstance(value, list) else value) for name, value in settings.items()]
    lines.append(table(("setting", "value"), shown))
    lines.append("`lamina card --data` writes the card of the data.")
    return "\n\n".join(lines)


def _limits(system: Path, record: Record, serving: Serving, test: Scores) -> str:
    what = _noun(serving)
    lines = [
        f"- The scores hold for {what} like those of the test fold. For others, as of another "
        f"{OTHERS[what]} or year, measure again before you rely on it.",
        f"- The test fold has {test.origins:,} origins: the interval says how far off the score may be.",
    ]
    lines += _limits_of(record, test, what)
    if serving.inputs is not None:
        isolate = section(read_params(system), "convert", ConvertConfig).isolate
        cuts = {"box": "pictures cut to their boxes", "cell": "single cells, cut out of the picture"}
        lines += [f"- It learned from {cuts[isolate]}: give it the same."] if isolate in cuts else []
    lines.append("- Nobody has tested it for decisions about people, such as a diagnosis.")
    return "\n".join(lines)


def _limits_of(record: Record, test: Scores, what: str) -> list[str]:
    """What its answers cannot be, by what they are."""
    if "targets" in record.settings:
        return [
            "- It knows no other labels than these. Each has a threshold of its own, chosen on the validation fold, so "
            "that probabilities of different labels are not to be compared."
        ]
    if target := record.settings.get("target"):
        mean, deviation = (float(record.data[key]) for key in ("target_mean", "target_deviation"))
        held: Any = getattr(test, "held", None)
        return [
            f"- It learned from numbers around {mean:.4g}, with a standard deviation of {deviation:.4g}, in the unit "
            f"of `{target}`, which lamina does not know. It is unlikely to answer far from them.",
            f"- About {100 * held.wanted:.0f} % of new numbers lie within {held.margin:.4g} of its answer; of the test "
            f"fold {100 * held.coverage:.0f} % did."
            if held and held.margin is not None
            else "- How far a single answer may be off is not known: the validation fold has too few origins.",
        ]
    if record.classes:
        return [f"- It always answers with one of its classes, also for {what} that show none of them."]
    return []


def _use(record: Record, serving: Serving) -> str:
    name = record.run
    if not TASKS[record.task].is_answered:
        call, then = f"lamina predict new/ --run {name} --request", "what to send to the model that MLflow serves"
        return f"In the folder of the system; {then}:\n\n```console\n{call}\n```\n\n{_keras(record, serving)}"
    python = f'import lamina\n\nlamina.open(".").runs["{name}"].predict("new/")'
    return (
        f"In the folder of the system:\n\n```console\nlamina predict new/ --run {name}\n```\n\n"
        f"```python\n{python}\n```\n\n{_keras(record, serving)}"
    )


def _keras(record: Record, serving: Serving) -> str:
    """What `model.keras` takes and gives, for those who load it themselves."""
    if serving.inputs is None:
        gives = "the number" if "target" in record.settings else "probabilities"
        return f"`model.keras` takes rows of words, as the stage `words` makes them, and gives {gives}."
    shape = f"(n, {record.width}, {record.width}, 3)"
    gives = "probabilities in the order of the classes" if record.classes else "pictures"
    if "targets" in record.settings:
        gives = "probabilities in the order of the labels"
    elif "target" in record.settings:
        gives = "numbers, (n, 1), in the unit of the target"
    return f"`model.keras` takes RGB pictures, float32 {shape} from 0 to 255, and gives {gives}."


def _identity(record: Record, model: Path) -> str:
    facts = {
        "key": record.key,
        "SHA-256 of model.keras": file_digest(model) if model.exists() else "not here; `dvc pull` fetches it",
        "code": record.code,
        "data": record.data.get("digest", ""),
        "seed": "" if record.seed is None else record.seed,
        "parameters": "" if record.parameters is None else f"{record.parameters:,}",
        "git commit": record.commit or "",
        "lamina": record.lamina,
        "made with": ", ".join(f"{name} {version}" for name, version in record.environment.items()),
    }
    return table(("", ""), [(name, value) for name, value in facts.items() if value != ""])
