"""Decide which sizes of an ONNX file's inputs stay open in the program, and by which examples.

``torch.export`` fixes a size that the network depends on, and refuses one that it was told to leave
open then. So there are several attempts, from all sizes open to none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import Dim

from graphprune.loading.argument_names import identifiers

from .batch_axes import batch_axes
from .read_graph import Graph

__all__ = ["Attempt", "attempts"]

STEPS = (32, 128)
"""Steps that are tried for sizes of which only multiples run, as behind five or seven halvings."""


@dataclass(frozen=True)
class Attempt:
    """One way to export.

    Attributes:
        inputs: the examples.
        dims: the ``dynamic_shapes`` argument of ``torch.export.export``.
    """

    inputs: tuple[torch.Tensor, ...]
    dims: Any


def attempts(graph: Graph, inputs: tuple[torch.Tensor, ...]) -> list[Attempt]:
    """List the ways to export, best first.

    These sizes are open, one way after another:

    * all that have no number in the file; torch infers bounds of those beside the batch, since a strided
      convolution needs a least size;
    * the same, but only multiples of 32 and of 128, or of what the examples' sizes share with these;
    * leading sizes only;
    * the batch only, which may stand behind the time steps;
    * none.

    torch.export takes a size of 1 for a constant. So they are tried with all open axes of size 1 doubled first, then
    with the leading ones doubled, then with the examples as they are.
    """
    ways: dict[tuple[torch.Size, ...], tuple[torch.Tensor, ...]] = {}
    for tried in (_grown(graph, inputs), _grown(graph, inputs, leading=True), inputs):
        ways.setdefault(tuple(x.shape for x in tried), tried)
    found = [Attempt(tried, dims) for tried in ways.values() for dims in _open(graph, tried)]
    return [*found, *(Attempt(tried, None) for tried in [*ways.values()][-2:])]


def _grown(
    graph: Graph, inputs: tuple[torch.Tensor, ...], *, leading: bool = False
) -> tuple[torch.Tensor, ...]:
    """Double every open axis of size 1, such as a batch behind the time steps, or only leading ones."""
    found = []
    for each, x in zip(graph.inputs, inputs, strict=True):
        open_ = [axis for axis, dim in enumerate(each.dims) if isinstance(dim, str)]
        axes = [axis for axis in open_ if not (leading and axis)]
        repeats = [2 if i in axes and n == 1 else 1 for i, n in enumerate(x.shape)]
        found.append(x.repeat(repeats) if 2 in repeats else x)
    return tuple(found)


def _open(graph: Graph, inputs: tuple[torch.Tensor, ...]) -> list[Any]:
    named = sorted({n for each in graph.inputs for n in each.dims if isinstance(n, str) and n})
    symbols = dict(zip(named, identifiers(named), strict=True))
    batch = Dim("batch_", min=1)
    dims = {name: Dim(symbols[name], min=1) for name in named}

    # A batch may stand behind another axis, as in the states of recurrent layers.
    pairs = zip(graph.inputs, inputs, strict=True)
    batches = {(each.dims[0], x.shape[0]) for each, x in pairs if each.dims and each.dims[0]}

    def leading(number: int, axis: int, name: str) -> Any:
        if axis and (name, inputs[number].shape[axis]) not in batches:
            return None
        return dims.get(name, batch)

    batch_at = batch_axes(graph)

    def behind(number: int, axis: int, name: str) -> Any:
        at = batch_at.get(graph.inputs[number].name)
        return dims.get(name, batch) if axis == at else None

    def inferred(number: int, axis: int, name: str) -> Any:
        return leading(number, axis, name) or Dim.AUTO

    def stepped(most: int) -> Any:
        steps: dict[tuple[Any, ...], Any] = {}

        def choose(number: int, axis: int, name: str) -> Any:
            if axis == 0:
                return leading(number, axis, name)
            size = inputs[number].shape[axis]
            # Axes of one name and one size are the same; others only happen to be called alike.
            key = (name, size) if name else (number, axis)
            step = math.gcd(size, most)
            if key not in steps:
                steps[key] = Dim(f"steps{len(steps)}_", min=1)
            return step * steps[key] if step > 1 else steps[key]

        return choose

    ways = (inferred, *map(stepped, STEPS), leading, *([behind] if any(batch_at.values()) else []))
    return [_specs(graph, way) for way in ways]


def _specs(graph: Graph, choose: Any) -> tuple[Mapping[int, Any] | None, ...]:
    return tuple(
        {
            axis: dim
            for axis, name in enumerate(each.dims)
            if isinstance(name, str) and (dim := choose(number, axis, name)) is not None
        }
        or None
        for number, each in enumerate(graph.inputs)
    )
