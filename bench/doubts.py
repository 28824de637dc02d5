"""Does the stage `inspect` find wrong labels? Swaps some at random, and counts how many suspects are among them.

python bench/doubts.py [ARCHIVE] [--pictures 6000] [--size 128] [--swapped 0.05] [--seed 13] [--folder FOLDER]
    [--networks efficientnet_lite0 ...]

ARCHIVE is a ZIP with one folder per class, of which PICTURES are drawn; without it, lamina draws blood smears. Features
are those of networks with ImageNet weights from the package index: a row for each, and one for those that the stage
chooses of them. The last row shows small pictures in CIELAB, by which a system without features is inspected. FOLDER
keeps the system; if it is there, its data are used again.

*at the true number*: of as many labels as were swapped, those with the lowest scores, the share that was swapped
(precision and recall are the same then). *suspects*: the labels that the stage would list.
"""

import argparse
import json
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lamina.data.rows import Folders
from lamina.inputs.points import Floats, feature_points, pixel_points, read_originals
from lamina.maths.doubts import find_doubts
from system import run_stage

STAGES = ("watch", "weights", "download", "filter", "convert", "augment", "split")
NETWORKS = (
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2_torchvision", "squeezenet"
)  # fmt: skip


def draw_pictures(archive: Path, count: int, folder: Path, seed: int) -> None:
    """Unpack some pictures of an archive, drawn at random, to `folder/CLASS/`."""
    with zipfile.ZipFile(archive) as packed:
        names = sorted(name for name in packed.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        for place in np.random.default_rng(seed).permutation(len(names))[:count]:
            path = folder / names[place]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed.read(names[place]))


def make_system(
    folder: Path, archive: Path | None, networks: Sequence[str], *, pictures: int, size: int, seed: int
) -> Folders:
    """Run the stages from the source to the features in a folder."""
    folder.mkdir(parents=True)
    source: dict[str, object] = {"kind": "smear", "pictures": pictures}
    if archive:
        draw_pictures(archive, pictures, folder / "pictures", seed)
        source = {"kind": "folder", "location": "pictures"}
    usual = {"pooling": "scales", "preprocess": "native"}
    features = {name: usual | {"backbone": name, "weights": f"weights/imagenet/{name}.weights.h5"} for name in networks}
    params = {
        "seed": seed,
        "source": source,
        "filter": {"drop_grayscale": False, "min_side": 1, "drop_duplicates": True},
        "convert": {"size": size, "isolate": "none"},
        "augment": dict.fromkeys(("copies", "rotation", "shift", "color"), 0)
        | {"flip_horizontal": False, "flip_vertical": False},
        "split": {"test": 0.3, "validation": 0.15},
        "weights": {"imagenet": [*networks]},
        "features": features,
        "runs": {},
    }
    (folder / "params.yaml").write_text(json.dumps(params))
    for stage in (*STAGES, *(f"extract {name}" for name in networks)):
        run_stage(folder, *stage.split())
    return folders_of(folder)


def folders_of(system: Path) -> Folders:
    """Return the data folders of a system."""
    usual = Folders()
    return Folders(
        **{name: system / getattr(usual, name) for name in ("lab", "augmented", "split", "pixels", "features")}
    )


def swap_labels(labels: "pd.Series[str]", share: float, seed: int) -> "pd.Series[str]":
    """Give a share of the pictures another class, drawn at random."""
    random, classes = np.random.default_rng(seed), sorted(set(labels))
    swapped = labels.copy()
    for place in random.permutation(len(labels))[: round(share * len(labels))]:
        swapped.iloc[place] = random.choice([name for name in classes if name != labels.iloc[place]])
    return swapped


def measure(points: Mapping[str, Floats], originals: pd.DataFrame, share: float, seed: int) -> dict[str, object]:
    """Return a row of the table: how many swapped labels are found."""
    given = swap_labels(originals["label"], share, seed)
    wrong = (given != originals["label"]).to_numpy()
    start = time.perf_counter()
    doubts = find_doubts(points, given, originals["origin"], seed=seed)
    seconds = time.perf_counter() - start
    wrong = wrong[doubts.judged]
    true = np.searchsorted(doubts.classes, originals["label"].astype(str))
    worst = np.argsort(doubts.score, kind="stable")[: wrong.sum()]
    hits = wrong[doubts.suspect].sum()
    return {
        "judged by": len(doubts.strengths),
        "pictures": len(wrong),
        "swapped": int(wrong.sum()),
        "true labels predicted": f"{np.mean(doubts.likelier == true[doubts.judged]):.1%}",
        "at the true number": f"{wrong[worst].mean():.1%}",
        "suspects": int(doubts.suspect.sum()),
        "precision": f"{hits / max(1, doubts.suspect.sum()):.1%}",
        "recall": f"{hits / wrong.sum():.1%}",
        "seconds": f"{seconds:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, default=6_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--swapped", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        system = given.folder or Path(temporary) / "system"
        settings = {"pictures": given.pictures, "size": given.size, "seed": given.seed}
        folders = (
            folders_of(system) if system.exists() else make_system(system, given.archive, given.networks, **settings)
        )
        originals = read_originals(folders, system / "data" / "filtered")
        pixels = np.load(folders.lab / "pixels.npy", mmap_mode="r")
        rows = originals["row"].to_numpy()
        points = {name: feature_points(folders.features / name, rows, seed=given.seed) for name in given.networks}
        seen = {name: {name: one} for name, one in points.items()}
        if len(points) > 1:
            seen["together"] = points
        seen["small pictures"] = {"pixels": pixel_points(pixels, seed=given.seed)}
        table = {name: measure(one, originals, given.swapped, given.seed) for name, one in seen.items()}
    print(pd.DataFrame(table).T.to_string())


if __name__ == "__main__":
    main()
