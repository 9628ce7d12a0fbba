"""Decode an image file, crop its centre and scale it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from graphprune.errors import first_line

from .files import UNREADABLE

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["BROKEN", "MODES", "SUFFIXES", "decode", "scaled"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Ends of the names of image files."""

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels of the input -> Pillow's image mode."""

BROKEN = (*UNREADABLE, SyntaxError, ValueError, IndexError, TypeError, struct.error, zlib.error)
"""Errors that reading and decoding a broken file raise in Pillow 10 to 13."""


def decode(data: bytes, mode: str) -> PIL.Image.Image:
    """Decode a file's bytes in a mode of Pillow; no format but the usual ones, and no image that is too large."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as file:
                return file.convert(mode)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise OSError(first_line(error)) from error


def scaled(
    image: PIL.Image.Image, size: tuple[int, int], crop: float, interpolation: str
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Crop the centre of an image and scale it to a height and width: pixels ``[h, w, c]``."""
    from PIL import Image, ImageOps

    height, width = size
    if image.size != (width, height) or crop < 1:
        method = Image.Resampling[interpolation.upper()]
        image = ImageOps.fit(image, (width, height), method, bleed=(1 - crop) / 2)
    return np.array(image).reshape(height, width, -1)
