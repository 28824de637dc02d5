"""How long does training a head take, and tuning its numbers, compared with Keras' `model.fit`?

python bench/heads.py [--rows 4394] [--width 1664] [--epochs 100] [--trials 20] [--repeats 1]

Both read arrays in memory, each in a process of its own, in turn. This takes minutes, nearly all of them for
`model.fit`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

CLASSES, BATCH, VALIDATION = 4, 16, 720
NUMBERS = {"learning_rate": 1e-5, "dropout": 0.5, "decay": 0.001}
SMALL = {"rows": 250, "epochs": 40}
TRIAL_EPOCHS = 20


def make_features(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw features (float16) of `rows` training pictures, then of the validation pictures, and their classes."""
    random = np.random.default_rng(13)
    labels = random.integers(0, CLASSES, rows + VALIDATION).astype(np.int32)
    features = np.abs(random.normal(size=(len(labels), width))) + random.normal(size=(CLASSES, width))[labels] * 0.1
    return features.astype(np.float16), labels


def by_lamina(features: np.ndarray, labels: np.ndarray, rows: int) -> Callable[..., list[float]]:
    """Return a function that trains with given numbers and epochs, and returns the training loss of each epoch."""
    from lamina.tasks.classify.settings import HeadSettings
    from lamina.training.heads import Head, make_class_fold, train_head
    from lamina.training.objectives import ClassObjective
    from lamina.training.settings import GradientNumbers

    settings = HeadSettings(task="classify", input="features/drawn", epochs=1, batch_size=BATCH, **NUMBERS)
    folds = [make_class_fold(features[part], labels[part], CLASSES) for part in (slice(rows), slice(rows, None))]
    mean, variance = features[:rows].mean(0, dtype=np.float32), features[:rows].var(0, dtype=np.float32)

    def one(numbers: dict[str, float], epochs: int) -> list[float]:
        chosen = GradientNumbers.model_validate(numbers)
        head = Head(settings, chosen, *folds, mean=mean, variance=variance, seed=13, objective=ClassObjective())
        train_head(head, epochs=epochs)
        return [row["train_loss"] for row in head.history]

    return one


def by_keras(features: np.ndarray, labels: np.ndarray, rows: int) -> Callable[..., list[float]]:
    """Return a function that does the same with `model.fit`, without a validation fold."""
    from lamina.models.keras_runtime import keras
    from lamina.models.networks import build_head

    mean, variance = features[:rows].mean(0, dtype=np.float32), features[:rows].var(0, dtype=np.float32)
    width, inputs = features.shape[1], features[:rows].astype(np.float32)

    def one(numbers: dict[str, float], epochs: int) -> list[float]:
        keras.backend.clear_session()
        network = build_head(width, CLASSES, dropout=numbers["dropout"], mean=mean, variance=variance, seed=13)
        rate = keras.optimizers.schedules.InverseTimeDecay(numbers["learning_rate"], 1, numbers["decay"])
        network.compile(keras.optimizers.RMSprop(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        fitted = network.fit(inputs, labels[:rows], batch_size=BATCH, epochs=epochs, verbose=0)
        return list(map(float, fitted.history["loss"]))

    return one


def tuned(one: Callable[..., list[float]], trials: int) -> list[float]:
    """Search for the three numbers with Optuna; return the best loss."""
    import optuna

    def objective(trial: optuna.Trial) -> float:
        numbers = {
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
            "dropout": trial.suggest_float("dropout", 0, 0.7),
            "decay": trial.suggest_float("decay", 1e-5, 1e-2, log=True),
        }
        return one(numbers, TRIAL_EPOCHS)[-1]

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=13))
    study.optimize(objective, n_trials=trials)
    return [study.best_value]


def child(way: str, work: str, rows: int, width: int, epochs: int, trials: int) -> None:
    """Do the work in this process; print seconds on the clock, seconds of all cores, and the losses."""
    features, labels = make_features(rows, width)
    start = time.perf_counter()
    one = (by_keras if way == "model.fit" else by_lamina)(features, labels, rows)
    loaded, before = time.perf_counter(), cores()
    losses = one(NUMBERS, epochs) if work == "train" else tuned(one, trials)
    ended = time.perf_counter()
    print(json.dumps({"load": loaded - start, "wall": ended - loaded, "cores": cores() - before, "losses": losses}))


def cores() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(*arguments: object) -> dict:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4394)
    parser.add_argument("--width", type=int, default=1664)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    size = (args.rows, args.width)
    works = {
        f"{args.epochs} epochs": ("train", *size, args.epochs, 0),
        f"{SMALL['rows']} rows, {SMALL['epochs']} epochs": ("train", SMALL["rows"], args.width, SMALL["epochs"], 0),
        f"{args.trials} trials of {TRIAL_EPOCHS} epochs": ("tune", *size, 0, args.trials),
    }
    print(f"{'':26} {'way':10} {'import':>7} {'seconds':>8} {'times':>6} {'of all cores':>13} {'times':>6}  last loss")
    for what, work in works.items():
        runs: dict[str, list[dict]] = {"model.fit": [], "lamina": []}
        for _ in range(args.repeats):
            for way in runs:
                runs[way].append(measured(way, *work))
        middle = {
            way: {key: median(run[key] for run in runs[way]) for key in ("load", "wall", "cores")} for way in runs
        }
        for way, seen in middle.items():
            wall, used = (middle["model.fit"][key] / seen[key] for key in ("wall", "cores"))
            figures = f"{seen['load']:7.1f} {seen['wall']:8.2f} {wall:6.1f} {seen['cores']:13.2f} {used:6.1f}"
            print(f"{what:26} {way:10} {figures}  {runs[way][0]['losses'][-1]:.4f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
    else:
        main()
