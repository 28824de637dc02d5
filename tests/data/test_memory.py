"""What a picture takes is known before it is decoded, and bounded: in pixels, sides and bytes."""

import os
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamina.data.decoding import decode
from lamina.data.memory import alone_if_large
from lamina.data.opening import UnreadableError, open_picture, read_file
from lamina.data.preparation import prepare_picture
from scans import WHOLE, encode, png_of_lines

# of a process of its own, so that what other tests took is not counted
MEASURE = """
import sys
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import prepare_picture
from pathlib import Path
peaks = []
for name in sys.argv[1:]:
    prepare_picture(Path(name).read_bytes(), ConvertConfig(size=64, isolate="none"))
    lines = Path("/proc/self/status").read_text().splitlines()
    peaks += [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
print((peaks[1] - peaks[0]) // 1024)
"""


def png(width: int, height: int, bits: int, kind: int) -> bytes:
    """A black PNG of a color type of its standard, which compresses to a thousandth."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    line = bytes(1 + (width * channels * bits + 7) // 8)
    packer = zlib.compressobj(1)
    lines = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    return png_of_lines(lines, width, height, bits, kind)


@pytest.mark.parametrize(
    ("size", "bits", "kind", "message"),
    [
        ((1, 200_000), 1, 0, "1x200000: a side has more than 65,535 pixels"),
        ((200_000, 1), 16, 6, "200000x1: a side has more than 65,535 pixels"),
        ((3000, 3000), 8, 6, "3000x3000 takes 68 MiB to decode, but convert.memory is 40; raise it, or make"),
        ((3000, 3000), 16, 0, "3000x3000 takes 51 MiB to decode, but convert.memory is 40"),
    ],
)
def test_pictures_that_take_too_much_are_refused_unread(
    size: tuple[int, int], bits: int, kind: int, message: str
) -> None:
    with pytest.raises(UnreadableError, match=message):
        open_picture(png_of_lines(b"no pixels", *size, bits, kind), memory=40)


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "GIF", "BMP", "AVIF"])
def test_every_format_is_bounded(kind: str) -> None:
    encoded = encode(Image.new("RGB", (1500, 1500)), kind)
    assert decode(open_picture(encoded, memory=60)).size == (1500, 1500)
    with pytest.raises(UnreadableError, match=r"1500x1500 takes \d+ MiB to decode, but convert.memory is 6"):
        open_picture(encoded, memory=6)


def test_a_file_larger_than_the_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(3 * 2**20)  # takes no space
    assert len(read_file(tmp_path / "a.png", 3)) == 3 * 2**20
    with pytest.raises(UnreadableError, match=r"a file of 3 MiB, but convert.memory is 2; raise it"):
        read_file(tmp_path / "a.png", 2)


def test_a_jpeg_takes_what_its_scale_takes() -> None:
    encoded = encode(Image.new("RGB", (4000, 4000)), "JPEG")
    config = WHOLE.model_copy(update={"memory": 10})
    assert prepare_picture(encoded, config).square.shape == (32, 32, 3)
    with pytest.raises(UnreadableError, match="4000x4000 takes 61 MiB"):
        decode(open_picture(encoded, memory=10))
    progressive = encode(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True)
    with pytest.raises(UnreadableError, match="4000x4000 takes 46 MiB"):  # its decoder keeps all of it
        prepare_picture(progressive, config)


@pytest.mark.parametrize(("bits", "kind"), [(8, 2), (8, 6), (16, 0), (16, 2)])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of a process where Linux tells it")
def test_decoding_takes_no_more_than_estimated(tmp_path: Path, bits: int, kind: int) -> None:
    estimated = open_picture(png(4000, 4000, bits, kind)).needed() / 2**20
    (tmp_path / "large.png").write_bytes(png(4000, 4000, bits, kind))
    (tmp_path / "small.png").write_bytes(png(40, 40, bits, kind))
    command = [sys.executable, "-c", MEASURE, tmp_path / "small.png", tmp_path / "large.png"]
    (taken,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert 0.5 * estimated < int(taken) < 1.1 * estimated + 60  # MiB, with a band


def test_large_pictures_are_decoded_one_at_a_time() -> None:
    inside, most = [], []

    def work() -> None:
        with alone_if_large(300 * 2**20):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="users have numbers on POSIX systems")
def test_large_pictures_are_decoded_for_users_without_a_name(tmp_path: Path) -> None:
    code = """
import os
from lamina.data.memory import alone_if_large
if os.getuid() == 0:
    os.setuid(54321)  # as containers are often run
with alone_if_large(300 * 2**20):
    print("alone")
"""
    tmp_path.chmod(0o777)
    surroundings = {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("alone\n", "")


def test_an_orientation_behind_the_pixels_of_a_png_is_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(np.zeros((20, 40, 3), np.uint8), exif=exif)
    start = encoded.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(encoded[start : start + 4], "big")
    chunk, end = encoded[start:stop], encoded.rindex(b"IEND") - 4
    moved = encoded[:start] + encoded[stop:end] + chunk + encoded[end:]
    assert (open_picture(moved).width, open_picture(moved).height) == (20, 40)
