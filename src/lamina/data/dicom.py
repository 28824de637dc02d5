"""Reads DICOM files of one frame. Greys are shown as the file says: by its window, or else by its range of values."""

import io
import logging
from typing import Any, Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels.decoders import base as decoders
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.pixels.utils import pixel_array

from lamina.data.depth import FULL
from lamina.data.samples import Samples, Values

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what is wrong is raised

_GREY: Final = ("MONOCHROME1", "MONOCHROME2")  # in the first, the smallest value is white
_GREY_BYTES, _COLOR_BYTES = 28, 8  # of a pixel, while it is decoded: windows are applied in float64
_ENDLESS: Final = np.array([-1e30, 1e30])  # values below and above every window


def read_header(encoded: bytes) -> tuple[int, int, bool, int]:
    """Read (width, height) in pixels, whether the picture has no color, and the bytes that decoding it takes.

    Raises:
        ValueError: If the file has no picture, or several frames.
    """
    data = dcmread(io.BytesIO(encoded), stop_before_pixels=True)
    if "Rows" not in data or "PhotometricInterpretation" not in data:
        raise ValueError("a DICOM file without a picture")
    frames = int(data.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"a DICOM file of {frames} frames; save each as a file of its own")
    grey = data.PhotometricInterpretation in _GREY
    pixels = data.Rows * data.Columns
    return data.Columns, data.Rows, grey, pixels * (_GREY_BYTES if grey else _COLOR_BYTES * data.SamplesPerPixel)


def read_samples(encoded: bytes) -> Samples:
    """Read the values of the only frame, which are of known depth: 8 bits, or 16 after scaling.

    Raises:
        ValueError: If its compression or its kind of color is not read.
    """
    data = dcmread(io.BytesIO(encoded))
    try:
        values: Values = pixel_array(data)
    except (RuntimeError, NotImplementedError):
        kind = data.file_meta.TransferSyntaxUID.name
        raise ValueError(f"a DICOM file in {kind} that cannot be decoded; save it uncompressed") from None
    kind, profile = data.PhotometricInterpretation, data.get("ICCProfile")
    if kind in _GREY:
        return Samples(values=_greys(values, data), depth=FULL, inverted=kind == _GREY[0])
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, data)[..., :3]
        depth = 8 * values.dtype.itemsize
    else:
        depth = int(data.BitsStored)
    return Samples(values=values, depth=depth, profile=bytes(profile) if profile else None)


def _greys(values: Values, data: Dataset) -> Values:
    """Scale to 16 bits: the range of the window, or of all values that the file can store."""
    shown = apply_modality_lut(values, data)
    if "VOILUTSequence" in data:
        low, high = 0.0, float((1 << int(data.VOILUTSequence[0].LUTDescriptor[2])) - 1)
        shown = apply_voi_lut(shown, data)
    elif "WindowCenter" in data:
        low, high = apply_windowing(_ENDLESS, data)
        shown = apply_windowing(shown, data)
    else:
        bits = int(data.BitsStored)
        least = -(1 << bits - 1) if data.PixelRepresentation else 0
        possible = apply_modality_lut(np.arange(least, least + (1 << bits)), data)
        low, high = float(possible.min()), float(possible.max())
    share = np.clip((shown - low) / (high - low), 0, 1)
    return np.asarray(np.rint(share * ((1 << FULL) - 1)), np.uint16)


def is_available(syntax: str) -> bool:
    """Whether `decode_frame` reads a compression; pydicom asks."""
    return True


def decode_frame(encoded: bytes, runner: Any) -> bytes:
    """Decode a frame in a compression that Pillow does not read; pydicom calls it."""
    import imagecodecs

    near = runner.transfer_syntax in ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
    pixels = imagecodecs.jpegls_decode(encoded) if near else imagecodecs.jpeg_decode(encoded)
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    return bytes(pixels.tobytes())


for _decoder in (
    decoders.JPEGExtended12BitDecoder,
    decoders.JPEGLosslessDecoder,
    decoders.JPEGLosslessSV1Decoder,
    decoders.JPEGLSLosslessDecoder,
    decoders.JPEGLSNearLosslessDecoder,
):
    _decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))
