"""Odd formats, as lamina decodes them, next to other decoders: a sheet to look at, and the largest differences.

    python bench/formats.py OUT.png

Each column is one photograph in one format. Above: lamina; in the middle: the reference; below: their difference, ten
times as large. References do not use Pillow where lamina does: tifffile, OpenCV, imagecodecs, pydicom, LittleCMS.
"""

import io
import sys
from typing import Any

import cv2
import imagecodecs
import numpy as np
from PIL import Image, ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2gray, rgb2lab
from tifffile import imread, imwrite

from lamina.data.decoding import decode
from lamina.data.opening import open_picture
from lamina.data.sheets import contact_sheet

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
WIDE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))  # primaries of Adobe RGB (1998)


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    imwrite(file, values, **options)
    return file.getvalue()


def saved(picture: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def dicom(values: np.ndarray, **tags: Any) -> bytes:
    written = Dataset()
    written.file_meta = FileMetaDataset()
    written.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written.SOPClassUID, written.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    written.Rows, written.Columns = values.shape
    written.SamplesPerPixel, written.PixelRepresentation = 1, 0
    written.BitsAllocated, written.BitsStored, written.HighBit = 16, 12, 11
    for name, value in tags.items():
        setattr(written, name, value)
    written.PixelData = values.tobytes()
    written["PixelData"].VR = "OW"
    file = io.BytesIO()
    written.save_as(file, enforce_file_format=True)
    return file.getvalue()


def grey(values: np.ndarray, top: int) -> np.ndarray:
    """8-bit RGB of greys from 0 to a top."""
    return np.dstack([np.floor(np.clip(values / top, 0, 1) * 255.999).astype(np.uint8)] * 3)


def examples() -> list[tuple[str, bytes, int, np.ndarray]]:
    """Names, files, their depths if the files do not say, and pixels by the reference."""
    photo = np.ascontiguousarray(data.astronaut()[:384, :384])
    light = rgb2gray(photo)
    deep, twelve = (photo.astype(np.uint16) * 257), np.rint(light * 4095).astype(np.uint16)
    planes = np.ascontiguousarray(np.moveaxis(deep, -1, 0))
    planar = tiff(planes, photometric="rgb", planarconfig="separate", compression="lzw")
    white_is_zero = tiff(4095 - twelve, photometric="miniswhite", metadata=None)
    png = bytes(imagecodecs.png_encode(deep))
    wide = imagecodecs.cms_profile("rgb", whitepoint=(0.3127, 0.3290), primaries=sum(WIDE, ()), gamma=2.2)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(wide))
    jpeg = saved(photo, "JPEG", quality=98, subsampling=0, icc_profile=wide)
    of_jpeg = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    in_srgb, jpeg_in_srgb = (
        np.asarray(ImageCms.profileToProfile(Image.fromarray(one), profile, SRGB)) for one in (photo, of_jpeg)
    )
    window = {"WindowCenter": 2000, "WindowWidth": 2001, "PhotometricInterpretation": "MONOCHROME1"}
    windowed = 1 - np.clip((twelve - 1999.5) / 2000 + 0.5, 0, 1)
    avif = saved(photo, "AVIF", quality=90)
    return [
        ("TIFF, 16 bits, planar", planar, 16, np.moveaxis(imread(io.BytesIO(planar)), 0, -1) >> 8),
        ("TIFF, WhiteIsZero, 12 of 16 bits", white_is_zero, 12, grey(4095 - imread(io.BytesIO(white_is_zero)), 4095)),
        ("PNG, 16 bits", png, 16, cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1] >> 8),
        ("PNG, 12 of 16 bits", bytes(imagecodecs.png_encode(twelve)), 12, grey(twelve >> 4, 255)),
        ("JPEG, Adobe RGB", jpeg, 16, jpeg_in_srgb),
        ("TIFF, 16 bits, Adobe RGB", tiff(deep, photometric="rgb", iccprofile=wide), 16, in_srgb),
        ("TIFF, floats", tiff(light.astype(np.float32), photometric="minisblack"), 16, grey(light, 1)),
        ("DICOM, window, MONOCHROME1", dicom(twelve, **window), 16, grey(windowed, 1)),
        ("DICOM, 12 bits stored", dicom(twelve, PhotometricInterpretation="MONOCHROME2"), 16, grey(twelve, 4095)),
        ("AVIF", avif, 16, np.asarray(imagecodecs.avif_decode(avif))[..., :3]),
    ]  # fmt: skip


def main() -> None:
    found = []
    for name, encoded, depth, reference in examples():
        ours = np.asarray(decode(open_picture(encoded, depth)))
        difference = np.abs(ours.astype(int) - reference)
        error = deltaE_ciede2000(rgb2lab(ours), rgb2lab(reference.astype(np.uint8)))
        print(f"{name:34}  largest difference {difference.max():3d} of 255   CIEDE2000 mean {error.mean():.3f}")
        found.append((name, ours, reference.astype(np.uint8), (10 * difference).clip(0, 255).astype(np.uint8)))
    names, *rows = zip(*found, strict=True)
    captions = [list(names), [""] * len(names), [""] * len(names)]
    contact_sheet(rows, ["lamina", "reference", "difference x 10"], captions, cell=(168, 168)).save(sys.argv[1])


if __name__ == "__main__":
    main()
