"""Corrupt labelled images, to measure how well a model's accuracy holds.

Simple relatives of the corruptions of Hendrycks and Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations" (ICLR 2019, arXiv:1903.12261), each at one
severity, near the third of their five. They work on the model's inputs, whatever these were
normalised to; the unit is the standard deviation of each channel over the first 64 samples. So
figures compare runs on the same data, and not with published ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from graphprune.ir.program import user_inputs

from .calibration import BATCH, Calibration, batched
from .labelled import accuracy

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from .source import Source

__all__ = ["CORRUPTIONS", "Corrupted", "robustness", "takes_images"]

NOISE = 0.4
"""Standard deviation of the added noise, in units (see above)."""
BLUR = 48
"""Ratio of the images' mean side to the blur's standard deviation, which is at least half a pixel."""
BRIGHTER = 0.6
"""Amount that is added to every pixel, in units (see above)."""
CONTRAST = 0.4
"""Share that is left of a pixel's distance from its image's mean."""
BLOCK = 2
"""Side, in pixels, of the blocks that are replaced by their mean."""

Corruption = Callable[[Tensor, Tensor, Generator], Tensor]
"""A function: images ``[n, c, h, w]``, the unit ``[c, 1, 1]``, a generator of random numbers -> images."""


def _noise(images: Tensor, unit: Tensor, random: Generator) -> Tensor:
    return images + NOISE * unit * torch.randn(images.shape, generator=random, dtype=images.dtype)


def _blur(images: Tensor, _unit: Tensor, _random: Generator) -> Tensor:
    height, width = images.shape[-2:]
    sigma = max((height + width) / 2 / BLUR, 0.5)
    for side, dim in ((height, -2), (width, -1)):
        radius = min(math.ceil(3 * sigma), side - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=images.dtype)
        kernel = torch.exp(-((offsets / sigma) ** 2) / 2)
        lines = images.transpose(dim, -1)
        flat = lines.reshape(-1, 1, side)
        padded = F.pad(flat, (radius, radius), mode="reflect")
        smooth = F.conv1d(padded, (kernel / kernel.sum())[None, None])
        images = smooth.reshape(lines.shape).transpose(dim, -1)
    return images


def _brighten(images: Tensor, unit: Tensor, _random: Generator) -> Tensor:
    return images + BRIGHTER * unit


def _flatten(images: Tensor, _unit: Tensor, _random: Generator) -> Tensor:
    mean = images.mean(dim=(-2, -1), keepdim=True)
    return mean + CONTRAST * (images - mean)


def _pixelate(images: Tensor, _unit: Tensor, _random: Generator) -> Tensor:
    means = F.avg_pool2d(images, BLOCK, ceil_mode=True, count_include_pad=False)
    large = means.repeat_interleave(BLOCK, -2).repeat_interleave(BLOCK, -1)
    return large[..., : images.shape[-2], : images.shape[-1]]


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brighten,
    "contrast": _flatten,
    "pixelate": _pixelate,
}
"""All corruptions, by the names they have in a report."""


@dataclass(frozen=True)
class Corrupted:
    """A data source whose images are corrupted; other inputs stay as they were.

    Attributes:
        source: of the inputs and labels.
        corruption: what is done to the images.
        seed: of its random numbers, which begin anew whenever the data is read.
    """

    source: Source
    corruption: Corruption
    seed: int = 0

    def calibration(self, program: ExportedProgram, samples: int) -> Calibration:
        """Take the source's inputs unchanged: corruptions are for evaluation only."""
        return self.source.calibration(program, samples)

    def labelled(self, program: ExportedProgram) -> Iterator[tuple[Any, ...]]:
        """Iterate over corrupted inputs and their labels."""
        random = torch.Generator().manual_seed(self.seed)
        units: list[Tensor | None] = []
        for *inputs, labels in batched(self.source.labelled(program), BATCH):
            units = units or [_unit(value) if _is_image(value) else None for value in inputs]
            yield (
                *(
                    value if unit is None else self.corruption(value, unit, random)
                    for value, unit in zip(inputs, units, strict=True)
                ),
                labels,
            )


def _unit(images: Tensor) -> Tensor:
    return images.std(dim=(0, 2, 3))[:, None, None]


def _is_image(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim == 4
        and min(value.shape[-2:]) > 1
    )


def takes_images(program: ExportedProgram) -> bool:
    """Whether an input is a batch of images ``[n, c, h, w]``."""
    return any(map(_is_image, user_inputs(program)))


def robustness(program: ExportedProgram, data: Source) -> dict[str, float]:
    """Measure accuracy under each corruption, 0 to 1; none for a model that takes no images.

    Raises:
        LoadError: as ``accuracy``.
        OptionError: as ``accuracy``.
    """
    if not takes_images(program):
        return {}
    return {
        name: accuracy(program, Corrupted(data, corruption))
        for name, corruption in CORRUPTIONS.items()
    }
