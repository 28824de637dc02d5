"""Make leukocytes.zip from two public repositories: pictures and boxes from BCCD, labels from wbc-classification.

python assemble.py [--pictures URL] [--labels URL] [--out leukocytes.zip]

`source.members` in params.yaml is the digest of what must be inside; `dvc repro` checks it.
"""

import argparse
import csv
import io
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from lamina.data.sources.fetch import PATIENCE, Session, fetch
from lamina.files import staged

PICTURES = "https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip"  # MIT license
LABELS = (
    "https://raw.githubusercontent.com/dhruvp/wbc-classification/fbb2e273a7d8100648b7b8cecdea769596f7b590/"
    "_inputs/labels.csv"
)
FOLDERS = {".jpg": "images", ".xml": "boxes"}


def members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return pictures and boxes, whatever folder they lie in, under the names of leukocytes.zip."""
    paths = {name: PurePosixPath(name) for name in archive.namelist()}
    return {
        f"leukocytes/{FOLDERS[path.suffix]}/{path.name}": archive.read(name)
        for name, path in paths.items()
        if path.suffix in FOLDERS and path.stem.startswith("BloodImage_")
    }


def label_table(numbered: str, pictures: set[str]) -> bytes:
    """Turn rows of number and category into rows of file and label, for the pictures that are there."""
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(("file", "label"))
    for row in csv.DictReader(io.StringIO(numbered)):
        file = f"images/BloodImage_{int(row['Image']):05d}.jpg"
        if f"leukocytes/{file}" in pictures:
            table.writerow((file, row["Category"]))
    return out.getvalue().encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", default=PICTURES)
    parser.add_argument("--labels", default=LABELS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("leukocytes.zip"))
    given = parser.parse_args()
    with TemporaryDirectory() as folder, Session() as session:
        downloads = Path(folder)
        fetch(given.pictures, downloads / "pictures", session=session, patience=PATIENCE)
        fetch(given.labels, downloads / "labels", session=session, patience=PATIENCE)
        with zipfile.ZipFile(downloads / "pictures") as archive:
            files = members(archive)
        numbered = (downloads / "labels").read_text(encoding="utf-8")
    files["leukocytes/labels.csv"] = label_table(numbered, set(files))
    with staged(given.out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name), data)
    print(f"{given.out}: {len(files)} files")


if __name__ == "__main__":
    main()
