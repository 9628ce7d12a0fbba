"""Draw inputs of other values and other sizes for trial runs of an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from graphprune.verify.inputs import drawn_like

from .read_graph import Graph

__all__ = ["other_inputs"]

STEP = 32
"""By how much sizes are raised that are a multiple of it; others by what they share with it."""


def other_inputs(
    graph: Graph, inputs: tuple[torch.Tensor, ...]
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Draw other inputs than the examples.

    They have the examples' sizes, then a batch of twice the size, then, twice, larger sizes on all open axes.
    Axes of one name have one size.
    """
    generator = np.random.default_rng(1)

    def drawn(sizes: Mapping[tuple[int, int], int]) -> tuple[torch.Tensor, ...]:
        shapes = [
            [sizes.get((i, axis), n) for axis, n in enumerate(x.shape)]
            for i, x in enumerate(inputs)
        ]
        pairs = zip(inputs, shapes, strict=True)
        return tuple(drawn_like(x, shape, generator).to(x.dtype) for x, shape in pairs)

    yield drawn({})
    places = _open(graph, inputs)
    batch = {key for (_, axis), key in places.items() if axis == 0}
    doubled = {(i, a): 2 * inputs[i].shape[a] for (i, a), key in places.items() if key in batch}
    if doubled:
        yield drawn(doubled)
    keys = {key: number for number, key in enumerate(dict.fromkeys(places.values()))}
    for times in (1, 2) if keys else ():
        yield drawn({
            (i, a): (n := inputs[i].shape[a]) + math.gcd(n, STEP) * (times + keys[key] % 2)
            for (i, a), key in places.items()
        })  # fmt: skip


def _open(graph: Graph, inputs: tuple[torch.Tensor, ...]) -> dict[tuple[int, int], Any]:
    """Map each open axis to what its size is known by: a name, the batch, or the axis alone."""
    found: dict[tuple[int, int], Any] = {}
    for number, (each, x) in enumerate(zip(graph.inputs, inputs, strict=True)):
        for axis, (dim, size) in enumerate(zip(each.dims, x.shape, strict=True)):
            if isinstance(dim, str):
                # Axes of one name and two sizes only happen to be called alike.
                own: Any = (dim, size) if dim else "batch" if axis == 0 else (number, axis)
                found[number, axis] = own
    return found
