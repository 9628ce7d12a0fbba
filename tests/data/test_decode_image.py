"""Image files become pixels, or one of the errors that a broken file may raise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from graphprune.data.decode_image import BROKEN, decode, scaled


def png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PIXELS = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_an_image_becomes_what_the_mode_says(mode: str, channels: int) -> None:
    found = scaled(decode(png(PIXELS), mode), (8, 12), 1.0, "bilinear")
    assert (found.shape, found.dtype) == ((8, 12, channels), np.uint8)
    if mode == "RGB":
        assert (found == PIXELS).all()


def test_the_centre_is_cropped_to_the_shape_that_is_asked_for() -> None:
    image = decode(png(PIXELS), "RGB")
    assert (scaled(image, (8, 8), 1.0, "nearest") == PIXELS[:, 2:10]).all()
    assert (scaled(image, (4, 6), 0.5, "nearest") == PIXELS[2:6, 3:9]).all()


@pytest.mark.parametrize("data", [b"", b"no image", png(PIXELS)[:40], b"%!PS-Adobe-3.0"])
def test_a_broken_file_raises_what_is_skipped(data: bytes) -> None:
    with pytest.raises(BROKEN):
        decode(data, "RGB")


def test_too_many_pixels_are_a_broken_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(OSError, match="pixels"):
        decode(png(PIXELS), "RGB")
