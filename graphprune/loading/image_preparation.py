"""How a model's images were prepared in its training, where the model says so.

timm's models say it in the attribute ``pretrained_cfg``, folders of the transformers library in
``preprocessor_config.json``. What the user says goes before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphprune.errors import LoadError
from graphprune.io.strict_json import finite, is_index, parsed, read_text

__all__ = ["INTERPOLATIONS", "ImagePreparation", "brought_by", "of_folder"]

INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Filters that images are scaled with, by Pillow's names, in the order of Pillow's numbers."""

FILE = "preprocessor_config.json"
"""File of a folder of the transformers library that says how inputs are prepared."""

MAX_BYTES = 1 << 20
"""Most bytes of that file."""


@dataclass(frozen=True)
class ImagePreparation:
    """How images are prepared, as far as a model says it.

    Attributes:
        origin: where it is said.
        mean: of each channel, of pixels from 0 to 1; ``()`` if it isn't said.
        std: likewise.
        crop: share of the image that the cropped centre has.
        interpolation: one of ``INTERPOLATIONS``.
    """

    origin: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: float | None = None
    interpolation: str | None = None

    def told(self) -> str:
        """Write what is said.

        >>> ImagePreparation("a file", (0.5,), (0.25,), 0.875, "bicubic").told()
        'mean 0.5, std 0.25, crop 0.875, bicubic'
        """
        parts = [f"mean {_text(self.mean)}, std {_text(self.std)}"] if self.mean else []
        parts += [f"crop {self.crop:.4g}"] if self.crop is not None else []
        return ", ".join([*parts, *([self.interpolation] if self.interpolation else [])])


def brought_by(model: object) -> ImagePreparation | None:
    """Read what a model of timm says in its ``pretrained_cfg``; ``None`` where there is nothing."""
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping):
        return None
    whole = config.get("crop_mode", "center") == "center"
    return _known(
        "the model's pretrained_cfg",
        config.get("mean"),
        config.get("std"),
        config.get("crop_pct") if whole else None,
        config.get("interpolation"),
    )


def of_folder(folder: Path) -> ImagePreparation | None:
    """Read what a folder of the transformers library says; ``None`` where there is nothing about images.

    Raises:
        LoadError: if the file can't be read, or isn't JSON.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    said: Any = parsed(read_text(path, MAX_BYTES, LoadError), MAX_BYTES, LoadError, FILE)
    if not isinstance(said, Mapping) or not _from_0_to_1(said):
        return None
    normal = said.get("do_normalize", True)
    number: Any = said.get("resample")
    named = is_index(number) and number < len(INTERPOLATIONS)
    return _known(
        FILE,
        said.get("image_mean") if normal else (0.0,),
        said.get("image_std") if normal else (1.0,),
        _crop(said),
        INTERPOLATIONS[number] if named and said.get("do_resize", True) else None,
    )


def _from_0_to_1(said: Mapping[str, Any]) -> bool:
    """Whether pixels are scaled to the range of 0 to 1 before they are normalised."""
    factor = said.get("rescale_factor", 1 / 255)
    scaled = finite(factor) and abs(255 * factor - 1) < 1e-6
    return bool(said.get("do_rescale", True)) and scaled


def _crop(said: Mapping[str, Any]) -> float | None:
    """Return the share of the shorter side that the centre has, if images are resized by that side first."""
    if not said.get("do_resize", True):
        return None
    short = _side(said.get("size"), ("shortest_edge",))
    if said.get("do_center_crop", False):
        cropped = _side(said.get("crop_size"), ("height", "width"))
        return cropped / short if short and cropped and cropped <= short else None
    # As ConvNeXt's processor: below 384 pixels, images are resized to the size over this share, then cropped.
    share = said.get("crop_pct")
    return share if short and short < 384 and finite(share) else None


def _side(size: Any, names: Sequence[str]) -> int | None:
    """Return a length from a size that is a number or names one."""
    found: list[Any] = [size.get(n) for n in names] if isinstance(size, Mapping) else [size]
    lengths: set[Any] = {length for length in found if is_index(length) and length}
    return lengths.pop() if len(lengths) == 1 else None


def _known(
    origin: str, mean: Any, std: Any, crop: Any, interpolation: Any
) -> ImagePreparation | None:
    """Keep what can be followed of what is said; ``None`` if that is nothing."""
    means, stds = _numbers(mean), _numbers(std)
    both = bool(means) and len(means) == len(stds) and all(value > 0 for value in stds)
    found = ImagePreparation(
        origin,
        means if both else (),
        stds if both else (),
        float(crop) if finite(crop) and 0 < crop <= 1 else None,
        interpolation if interpolation in INTERPOLATIONS else None,
    )
    return found if found.told() else None


def _numbers(values: Any) -> tuple[float, ...]:
    several = (
        isinstance(values, Sequence) and not isinstance(values, str) and all(map(finite, values))
    )
    return tuple(float(value) for value in values) if several else ()


def _text(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.4g}" for value in values)
