"""What JPEG costs small pictures: the same pictures twice, without loss and as JPEG, for `bench/accuracy.py`.

python bench/compression.py cats_dogs.zip FOLDER [--size 32] [--quality 75]
python bench/accuracy.py small_pictures FOLDER/lossless.zip
python bench/accuracy.py small_pictures FOLDER/jpeg.zip

Each picture of the ZIP is cut to its central square and scaled down, which leaves little of its own compression. One
archive holds it as PNG, the other as JPEG with halved chroma (4:2:0), under the same name.
"""

import argparse
import io
import zipfile
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps


def encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    """Return the file of a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--quality", type=int, default=75)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(given.source) as source,
        zipfile.ZipFile(given.folder / "lossless.zip", "w") as lossless,
        zipfile.ZipFile(given.folder / "jpeg.zip", "w") as jpeg,
    ):
        for name in (name for name in source.namelist() if name.lower().endswith((".jpg", ".png"))):
            with source.open(name) as file, Image.open(file) as opened:
                square = (given.size, given.size)
                picture = ImageOps.fit(opened.convert("RGB"), square, Image.Resampling.LANCZOS)
            stem = PurePosixPath(name).with_suffix("")
            lossless.writestr(f"{stem}.png", encoded(picture, "PNG"))
            jpeg.writestr(f"{stem}.jpg", encoded(picture, "JPEG", quality=given.quality, subsampling=2))


if __name__ == "__main__":
    main()
