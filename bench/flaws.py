"""Four known mistakes of evaluation, made on purpose on your own pictures, next to the right figures.

python bench/flaws.py SYSTEM [RUN] [--copies N] [--pictures 2000] [--seeds 5] [--out flaws]

SYSTEM is the folder of a finished system, RUN one of its runs or ensembles that classify (the first run if left out).
The docstring of each mistake, a function below, says what was done and why the figure is wrong. The script prints each
flawed figure next to the right one, with 95 % intervals over origins, and draws OUT/flaws.png; it changes nothing else.

The first and the last mistake need only the run's test predictions. The others train logistic regressions over frozen
features: of the first entry of `features` with trained weights, with the copies of `augment` (4 if it has none), and
of every entry with published weights. Without such entries they are left out.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lamina.charts.figures import INK, LINE, PAPER, PINK, VIOLET
from lamina.charts.formatting import interval, percent, points
from lamina.config import PUBLISHED, Params, named, read_params, section, validated
from lamina.data.augmentation import PLAN_COLUMNS, AugmentConfig, draw_plan
from lamina.data.rows import Folders, Rows, open_rows
from lamina.errors import UserError
from lamina.files import staged
from lamina.inputs.features import FeaturesSettings
from lamina.inputs.index import read_split
from lamina.maths.comparison import difference_interval
from lamina.maths.means import mean_interval
from lamina.maths.scores import accuracy_interval
from lamina.maths.splits import split_origins
from lamina.models.backbones import RANDOM
from lamina.progress import progress
from lamina.results.folders import results_folder
from lamina.stages import entry
from lamina.tasks.classify.results import PREDICTED
from lamina.tasks.columns import probability
from lamina.tasks.runs import run_tasks
from lamina.training.linear import fit_logistic

SHUFFLES = 100
SHARES = {"train": 0.7, "test": 0.3}


@dataclass(frozen=True)
class Flaw:
    """A mistake, its figure and the right one, each from 0 to 1 with the ends of its interval, and a note."""

    name: str
    flawed: tuple[float, float, float]
    right: tuple[float, float, float]
    note: str


def shuffled_labels(predictions: pd.DataFrame, seed: int) -> Flaw:
    """Compare the predictions with labels in another order.

    What was done: a generator shuffled the test pictures, but their predictions were compared with the labels in the
    order of the folders. A dissertation of 2018 on white blood cells so reported 26.3 % for networks that classified
    more than 95 % of the validation pictures correctly. Of four equal classes, chance gives 25 %.

    Why the figure is wrong: each prediction is compared with the label of some other picture. The figure only says how
    often two random pictures have the same class. Right: join predictions and labels by the name of the picture.
    """
    labels, predicted, random = predictions["label"], predictions["predicted"], np.random.default_rng(seed)
    found = [float(np.mean(predicted == random.permutation(labels))) for _ in range(SHUFFLES)]
    right = accuracy(labels == predicted, predictions["origin"])
    note = f"the same predictions; mean of {SHUFFLES} shuffles, and where 95 % of them lie"
    return Flaw("labels in another order", (np.mean(found), *np.percentile(found, [2.5, 97.5])), right, note)


def copies_before_split(features: np.ndarray, rows: pd.DataFrame, seeds: int) -> Flaw:
    """Augment first, then split pictures and copies at random.

    What was done: every picture was copied with rotations, shifts and flips; then 30 % of all files became the test
    set. Others did so with the pictures of a dissertation of 2018 on white blood cells, and report more than 98 %.

    Why the figure is wrong: for almost every test file, training has another copy of the same picture. The network can
    recognize the picture; it need not know the class. Right: whole origins are held out with all their copies, as many
    rows train, and only originals are tested.

    features: (n, width) of the rows. rows: `origin`, `label` and `copy`; 0 is the original. seeds: number of splits.
    """
    originals, origins, leaked, held_out = rows[rows["copy"] == 0], rows["origin"].to_numpy(), [], []
    labels = np.unique(rows["label"], return_inverse=True)[1]
    for seed in range(seeds):
        fold = rows["origin"].map(split_origins(list(originals["origin"]), list(originals["label"]), SHARES, seed))
        train, test = np.flatnonzero(fold == "train"), np.flatnonzero((fold == "test") & (rows["copy"] == 0))
        held_out.append((correct_of_head(features, labels, train, test), origins[test]))
        every = np.arange(len(rows))  # the mistake: rows are drawn, not origins
        train, test = train_test_split(every, train_size=len(train), stratify=labels, random_state=seed)
        leaked.append((correct_of_head(features, labels, train, test), origins[test]))
    gains = [flawed.mean() - right.mean() for (flawed, _), (right, _) in zip(leaked, held_out, strict=True)]
    # an origin that several splits test stays one origin
    flawed, right = (accuracy(*map(np.concatenate, zip(*found, strict=True))) for found in (leaked, held_out))
    note = f"{seeds} splits of {len(originals)} pictures, {len(rows)} rows: {points(np.mean(gains))} points on average"
    return Flaw("copies before the split", flawed, right, f"{note}, {points(min(gains))} to {points(max(gains))}")


def rescaled_pixels(scaled: np.ndarray, native: np.ndarray, rows: pd.DataFrame, network: str) -> Flaw:
    """Feed pixels / 255 to a network that was trained with another input convention.

    What was done: the dissertation of 2018 on white blood cells divided the pixels by 255 for all of its eight
    networks. ResNet50, which expects blue, green and red minus their ImageNet means (-124 to 151), scored 46 %.

    Why the figure is wrong: the frozen network gets pictures with far less contrast than it was trained with. The table
    then compares how well networks endure the mistake. Its cost depends on the network; standardized features, as here,
    repair a part of it. Right: each network gets its own convention, as `preprocess: native` does.

    scaled, native: (n, width) features of each convention. rows: `origin`, `label` and `fold`. network: its name.
    """
    labels = np.unique(rows["label"], return_inverse=True)[1]
    train, test = (np.flatnonzero(rows["fold"] == fold) for fold in ("train", "test"))
    flawed, right = (correct_of_head(features, labels, train, test) for features in (scaled, native))
    origins = rows["origin"].to_numpy()[test]
    low, high = difference_interval(flawed, right, origins)
    size = "small here, and may be chance" if low <= 0 <= high else "more than chance"
    note = f"the difference ({points(low)} to {points(high)} points) is {size}: {len(test)} test pictures"
    return Flaw(f"pixels / 255 for {network}", accuracy(flawed, origins), accuracy(right, origins), note)


def single_outputs(predictions: pd.DataFrame) -> Flaw:
    """Count every output by itself.

    What was done: the dissertation of 2018 on white blood cells trained four softmax outputs with the loss
    `binary_crossentropy` and the metric `accuracy`. Keras then reported how many outputs are on the right side of 0.5.

    Why the figure is wrong: three of four outputs should be 0, and mostly are. Zeros for every picture score 75 % and
    find no class; a wrong class still scores 50 %. Right: a picture counts if its largest output is that of its class.
    """
    columns = [name for name in predictions.columns if name not in PREDICTED]
    classes = [name.removeprefix(probability("")) for name in columns]
    one_hot = predictions["label"].to_numpy(dtype=object)[:, None] == np.array(classes, dtype=object)
    shares = np.mean((predictions[columns].to_numpy() > 0.5) == one_hot, axis=1)
    flawed = (shares.mean(), *np.clip(mean_interval(shares, predictions["origin"]), 0, 1))
    counts = predictions["label"].value_counts(normalize=True)
    constant = 1 - 2 * (1 - counts.iloc[0]) / len(classes)  # a wrong class makes two outputs wrong
    note = f"always {counts.index[0]}: {percent(constant)} instead of {percent(counts.iloc[0])}"
    note += f"; zeros for every picture: {percent(1 - 1 / len(classes))} instead of nothing"
    right = accuracy(predictions["label"] == predictions["predicted"], predictions["origin"])
    return Flaw("accuracy of single outputs", flawed, right, note)


def accuracy(correct: np.ndarray | pd.Series, origins: np.ndarray | pd.Series) -> tuple[float, float, float]:
    return float(np.mean(correct)), *accuracy_interval(correct, origins)


def correct_of_head(features: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Fit a logistic regression over standardized features; return which test rows it classifies correctly."""
    scaler = StandardScaler().fit(features[train].astype(np.float64))
    with threadpool_limits(1):  # these products are small: on a busy machine two threads took nine times as long
        head = fit_logistic(scaler.transform(features[train]), labels[train], int(labels.max()) + 1)
    return np.asarray(head.predict(scaler.transform(features[test])).argmax(axis=1) == labels[test])


def extracted(settings: FeaturesSettings, rows: Rows, seed: int) -> np.ndarray:
    """Compute the features of rows, (n, width) float32, in memory."""
    from lamina.inputs.extraction import ROWS_AT_ONCE, make_extractor
    from lamina.models.engine import compile_engine

    engine = compile_engine(make_extractor(settings, read_split(Folders()), Folders(), seed=seed), settings.precision)
    chunks = np.array_split(np.arange(len(rows)), -(-len(rows) // ROWS_AT_ONCE))
    shown = progress(chunks, what=f"{settings.backbone}, {settings.preprocess}", unit="rows", sizes=[*map(len, chunks)])
    return np.concatenate([engine.features(rows.read(chunk)) for chunk in shown])


def flaws_of_features(params: Params, given: argparse.Namespace) -> list[Flaw]:
    """Make the mistakes that need features, with the frozen networks of the system; none if it has none."""
    if not (entries := named(params, "features")):
        return []
    listed = [validated(value, f"features.{name}", FeaturesSettings) for name, value in entries.items()]
    # flattened maps of some thousand rows would not fit into memory
    networks = [one.model_copy(update={"pooling": "avg"}) if one.pooling == "flatten" else one for one in listed]
    networks.sort(key=lambda one: one.weights == RANDOM)
    seed, manifest = entry.seed(params), read_split(Folders())
    originals = manifest[(manifest["copy"] == 0) & manifest["label"].notna()].reset_index(drop=True)
    some = originals.sample(min(len(originals), given.pictures), random_state=seed).reset_index(drop=True)
    opened, config = open_rows(some, Folders()), section(params, "augment", AugmentConfig)
    copies = given.copies or config.copies or 4
    plan = draw_plan(some, config.model_copy(update={"copies": copies}), seed)
    rows = Rows(opened.pixels, np.repeat(opened.place, copies + 1), plan[["copy", *PLAN_COLUMNS]])
    found = [copies_before_split(extracted(networks[0], rows, seed), plan, given.seeds)]
    for one in {(one.backbone, one.weights): one for one in networks if PUBLISHED.fullmatch(one.weights)}.values():
        both = [one.model_copy(update={"preprocess": preprocess}) for preprocess in ("rescale", "native")]
        features = [extracted(settings, open_rows(originals, Folders()), seed) for settings in both]
        found.append(rescaled_pixels(*features, originals, one.backbone))
    return found


def read_predictions(params: Params, name: str | None) -> pd.DataFrame:
    """Read the test predictions of a run or ensemble; without a name, of the first run that classifies."""
    known = [run for run, task in run_tasks(params).items() if task.name == "classify"]
    path = results_folder(Path(), name or next(iter(known), "RUN")) / "predictions.parquet"
    predictions = pd.read_parquet(path)
    if not {*PREDICTED} <= {*predictions.columns}:
        raise UserError(f"{path}: no predicted classes; name a run that classifies: {', '.join(known) or 'none'}")
    return predictions


def draw(flaws: list[Flaw], out: Path) -> None:
    """Draw a pair of bars for each mistake: the flawed figure hatched, the right one filled."""
    figure = Figure(figsize=(8, 0.5 + 0.95 * len(flaws)), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot(facecolor="none", xlim=(0, 1.45), ylim=(3 * len(flaws) - 1.2, -1.4), yticks=[])
    looks = {"flawed": {"facecolor": PAPER, "edgecolor": PINK, "hatch": "////"}, "right": {"color": VIOLET}}
    around = [withStroke(linewidth=4, foreground=PAPER)]  # the interval stays visible on the bar
    for place, flaw in enumerate(flaws):
        axes.text(0, 3 * place - 0.85, flaw.name, color=INK, fontsize=10, fontweight="bold", va="center")
        for row, (kind, look) in enumerate(looks.items()):
            value, low, high = getattr(flaw, kind)
            axes.barh(3 * place + row, value, height=0.8, **look)
            axes.plot([low, high], [3 * place + row] * 2, color=INK, linewidth=1.6, path_effects=around)
            said = f"{kind} {percent(value)} ({interval((low, high))})"
            axes.text(high + 0.02, 3 * place + row, said, color=INK, fontsize=9, va="center")
    axes.set_xticks(np.arange(0, 1.01, 0.25), [percent(tick, 0) for tick in np.arange(0, 1.01, 0.25)])
    axes.tick_params(color=LINE, labelcolor=INK, labelsize=9)
    axes.spines[:].set_visible(False)
    with staged(out / "flaws.png") as part:
        figure.savefig(part, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", type=Path)
    parser.add_argument("run", nargs="?")
    for option, default in (("--copies", None), ("--pictures", 2000), ("--seeds", 5)):
        parser.add_argument(option, type=int, default=default)
    parser.add_argument("--out", type=Path, default=Path("flaws"))
    given = parser.parse_args()
    params, out = read_params(given.system), given.out.resolve()
    os.chdir(given.system)
    predictions = read_predictions(params, given.run)
    flaws = [shuffled_labels(predictions, entry.seed(params)), *flaws_of_features(params, given)]
    flaws.append(single_outputs(predictions))
    print(f"{'mistake':36}{'flawed':>8}  {'right (95 % interval)':26}{'points':>7}")
    for flaw in flaws:
        right = f"{percent(flaw.right[0])} ({interval(flaw.right[1:])})"
        print(f"{flaw.name:36}{percent(flaw.flawed[0]):>8}  {right:26}{points(flaw.flawed[0] - flaw.right[0]):>7}")
        print(f"    {flaw.note}")
    draw(flaws, out)


if __name__ == "__main__":
    entry.run(main)
