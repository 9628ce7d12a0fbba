"""Compute the places that a MaxPool gives, and MaxUnpool, which puts elements back there.

ONNX counts places through all of the input, so a channel's places depend on how many channels stand before it.
What undoes a pooling of the same size needs the place within its channel alone, which a cut doesn't change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from .operators import Node, operator, refuse
from .values import Value, integers, tensor

__all__ = ["places_of"]

aten = torch.ops.aten

_WITHIN = "_graphprune_within"
"""Attribute of a tensor of places that holds them by channel."""


@dataclass(frozen=True)
class _Within:
    """Places within each channel.

    Attributes:
        places: ``[N, C, ...]``.
        sizes: of a channel of the input.
    """

    places: torch.Tensor
    sizes: tuple[Any, ...]


def places_of(x: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """Count places through all of a pooling's input, as ONNX does.

    Args:
        x: the input, ``[N, C, ...]``.
        within: the places within each channel of it, ``[N, C, ...]``.
    """
    rank = [1] * (x.dim() - 2)
    samples = torch.arange(x.shape[0], device=x.device).reshape(-1, 1, *rank) * x.shape[1]
    channels = torch.arange(x.shape[1], device=x.device).reshape(1, -1, *rank)
    numbers = within + (samples + channels) * math.prod(x.shape[2:])
    setattr(numbers, _WITHIN, _Within(within, tuple(x.shape[2:])))
    return numbers


@operator("MaxUnpool", sizes=(2,))
def max_unpool(node: Node, x: Value, places: Value, sizes: Value | None = None) -> torch.Tensor:
    """Put elements where the MaxPool of the same size found them, with zeros between."""
    value, within = tensor(x), getattr(places, _WITHIN, None)
    kernel = list(node.get("kernel_shape"))
    rank = len(kernel)
    strides, pads = node.get("strides", [1] * rank), node.get("pads", [0] * 2 * rank)
    if sizes is None:
        to = [
            (n - 1) * stride + k - before - after
            for n, stride, k, before, after in zip(
                value.shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True
            )
        ]
    else:
        whole = integers(node, sizes, "the sizes of the result")
        to = whole[2:]
        if [*whole[:2]] != [*value.shape[:2]]:
            raise refuse(node, "another number of channels than that of its input")
    if not isinstance(within, _Within) or [*to] != [*within.sizes]:
        raise refuse(node, "places of another pooling than one of a value as large as the result")
    if rank == 1:
        flat = aten.max_unpool2d(value.unsqueeze(2), within.places.unsqueeze(2), [1, *to])
        return flat.squeeze(2)
    if rank == 2:
        return aten.max_unpool2d(value, within.places, to)
    raise refuse(node, "another number of axes than 1 or 2")
