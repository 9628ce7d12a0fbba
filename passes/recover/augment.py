"""Data augmentation for distillation: flips, crops and mixup, whose targets the dense program computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphprune.errors import OptionError

__all__ = ["AUGMENTATIONS", "augment", "check_names"]

_SHIFT = 8
"""Crops move by up to one part in 8 of the image's height and width."""

Change = Callable[[Tensor, torch.Generator], Tensor]


def _flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right, or not, at random."""
    flipped = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(flipped.view(-1, 1, 1, 1).to(x.device), x.flip(3), x)


def _crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by a random offset of its own; the border is repeated."""
    height, width = x.shape[2:]
    down, right = max(1, height // _SHIFT), max(1, width // _SHIFT)
    padded = F.pad(x, (right, right, down, down), mode="replicate")
    tops = torch.randint(2 * down + 1, (len(x),), generator=generator).tolist()
    lefts = torch.randint(2 * right + 1, (len(x),), generator=generator).tolist()
    return torch.stack([
        image[:, top : top + height, left : left + width]
        for image, top, left in zip(padded, tops, lefts, strict=True)
    ])


def _mix(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blend each sample with another one: Zhang et al., "mixup", ICLR 2018, equation 1."""
    share = torch.rand(len(x), generator=generator).view(-1, *[1] * (x.ndim - 1)).to(x)
    other = torch.randperm(len(x), generator=generator).to(x.device)
    return share * x + (1 - share) * x[other]


AUGMENTATIONS: dict[str, Change] = {"crop": _crop, "flip": _flip, "mix": _mix}
"""Augmentations by name; ``flip`` and ``crop`` take images ``[n, c, h, w]``, ``mix`` any floats."""


def check_names(names: Sequence[str], inputs: Sequence[Any]) -> None:
    """Refuse augmentations that don't fit the inputs.

    Raises:
        OptionError: if one is unknown, or the model has other inputs than one of floats; for
            ``flip`` and ``crop``, other than images.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise OptionError(
                f"no augmentation {name!r}", hint=f"one of {', '.join(AUGMENTATIONS)}"
            )
        floats = (
            len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point()
        )
        if not floats or (name != "mix" and inputs[0].ndim != 4):
            needed = "samples of floats" if name == "mix" else "images [n, c, h, w]"
            raise OptionError(
                f"the augmentation {name} is for models with one input of {needed}",
                options=("augment",),
            )


def augment(names: Sequence[str], inputs: Sequence[Any], generator: torch.Generator) -> list[Any]:
    """Return the inputs with all named augmentations, applied in the order of the table."""
    changed = list(inputs)
    for name, change in AUGMENTATIONS.items():
        if name in names:
            changed[0] = change(changed[0], generator)
    return changed
