"""DICOM files are shown as their tags say: window, rescaling, photometric interpretation, bits stored."""

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from lamina.data.decoding import decode, inspect_picture, read_layers
from lamina.data.opening import UnreadableError, open_picture
from scans import gamma_profile, waves

GREY = waves(top=4095)
COLORS = np.dstack([waves(), waves()[::-1] // 2, waves()[:, ::-1]])


def dicom(values: np.ndarray, syntax: str = ExplicitVRLittleEndian, frame: bytes | None = None, **tags: Any) -> bytes:
    """A DICOM file (PS3.5, PS3.10) of values; frame: they are compressed."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel = 1 if values.ndim == 2 else 3
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    data.BitsAllocated = 8 * values.dtype.itemsize
    data.BitsStored = 12 if values.dtype.itemsize == 2 else 8
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    data.HighBit = data.BitsStored - 1
    data.PixelData = values.tobytes() if frame is None else encapsulate([frame])
    data["PixelData"].VR = "OW" if data.BitsAllocated == 16 else "OB"
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def light(encoded: bytes) -> np.ndarray:
    """Greys, 0 to 1."""
    found = read_layers(open_picture(encoded))
    assert found.colors.dtype == np.uint16
    return found.colors / 65535


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_without_a_window_the_bits_stored_are_the_range(bits: int) -> None:
    np.testing.assert_allclose(light(dicom(GREY >> 2, BitsStored=bits)), (GREY >> 2) / (2**bits - 1), atol=1e-5)


def test_signed_and_rescaled_values_keep_their_range() -> None:
    signed = (GREY.astype(int) - 2048).astype(np.int16)
    for tags in ({}, {"RescaleSlope": 2, "RescaleIntercept": -1024}):
        np.testing.assert_allclose(light(dicom(signed, **tags)), GREY / 4095, atol=1e-5)


@pytest.mark.parametrize("slope", [1, 2])
def test_the_first_window_is_the_range(slope: int) -> None:
    """As PS3.3, C.11.2.1.2.1 has it, over rescaled values."""
    center, width = [1500 * slope, 40], [1001, 400]
    encoded = dicom(GREY, WindowCenter=center, WindowWidth=width, RescaleSlope=slope, RescaleIntercept=0)
    expected = np.clip((slope * GREY.astype(float) - (1500 * slope - 0.5)) / 1000 + 0.5, 0, 1)
    np.testing.assert_allclose(light(encoded), expected, atol=1e-4)
    assert 0.2 < expected.mean() < 0.95


def test_in_monochrome1_the_smallest_value_is_white() -> None:
    encoded = dicom(GREY, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(light(encoded), 1 - GREY / 4095, atol=1e-5)
    found = inspect_picture(open_picture(encoded))
    assert found.grey
    assert found.largest == 0, "the file says its depth"


def test_colors_are_read_with_their_profile() -> None:
    np.testing.assert_array_equal(decode(open_picture(dicom(COLORS))), COLORS)
    profiled = dicom(COLORS, ICCProfile=gamma_profile(1.0))
    assert np.abs(np.asarray(decode(open_picture(profiled))).astype(int) - COLORS).mean() > 20


@pytest.mark.parametrize(
    ("syntax", "encode", "values"),
    [
        (JPEGLosslessSV1, lambda values: imagecodecs.ljpeg_encode(values, bitspersample=12), GREY),
        (JPEGLSLossless, imagecodecs.jpegls_encode, GREY),
        (JPEG2000Lossless, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True), GREY),
        (JPEGBaseline8Bit, lambda values: imagecodecs.jpeg8_encode(values, level=98), waves()),
    ],
    ids=["lossless", "ls", "2000", "baseline"],
)
def test_compressed_frames_are_read(syntax: str, encode: Any, values: np.ndarray) -> None:
    encoded = dicom(values, syntax, encode(values))
    lossy = syntax == JPEGBaseline8Bit
    np.testing.assert_allclose(light(encoded), values / (255 if lossy else 4095), atol=0.02 if lossy else 1e-5)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (dicom(GREY, NumberOfFrames=7), "a DICOM file of 7 frames; save each as a file of its own"),
        (dicom(GREY)[:2000], "number of bytes"),
        (dicom(GREY, RLELossless, b"no frame"), "a DICOM file in RLE Lossless that cannot be decoded; save it"),
    ],
)
def test_what_is_not_one_picture_is_refused(encoded: bytes, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        decode(open_picture(encoded))
