"""Decide which sizes of an ONNX file's inputs stay open in the program, and by which examples.

``torch.export`` fixes a size that the network depends on, and refuses one that it was told to leave
open then. So there are several attempts, from all sizes open to none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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


_Choose = Callable[[int, int, str], Any]
"""Chooses for the number of an input, an axis, and the name of its size: a symbol, or ``None`` to fix the size."""


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
    found = [
        Attempt(tried, _specs(graph, choose))
        for tried in ways.values()
        for choose in _Ways(graph, tried).all()
    ]
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


class _Ways:
    """The ways to leave sizes open, each a choice of a symbol for an axis, with some examples.

    Args:
        graph: the file's.
        inputs: the examples.
    """

    def __init__(self, graph: Graph, inputs: tuple[torch.Tensor, ...]) -> None:
        self._graph, self._inputs = graph, inputs
        named = sorted({n for each in graph.inputs for n in each.dims if isinstance(n, str) and n})
        symbols = zip(named, identifiers(named), strict=True)
        self._dims = {name: Dim(symbol, min=1) for name, symbol in symbols}
        self._batch = Dim("batch_", min=1)
        self._batch_at = batch_axes(graph)
        # A batch may stand behind another axis, as in the states of recurrent layers.
        pairs = zip(graph.inputs, inputs, strict=True)
        self._batches = {
            (each.dims[0], x.shape[0]) for each, x in pairs if each.dims and each.dims[0]
        }

    def all(self) -> list[_Choose]:
        """List the ways, best first."""
        behind = [self._behind] if any(self._batch_at.values()) else []
        return [self._inferred, *map(self._stepped, STEPS), self._leading, *behind]

    def _leading(self, number: int, axis: int, name: str) -> Any:
        """Leave leading sizes open, and those that are the same batch."""
        if axis and (name, self._inputs[number].shape[axis]) not in self._batches:
            return None
        return self._dims.get(name, self._batch)

    def _behind(self, number: int, axis: int, name: str) -> Any:
        """Leave the batch open, wherever it stands."""
        at = self._batch_at.get(self._graph.inputs[number].name)
        return self._dims.get(name, self._batch) if axis == at else None

    def _inferred(self, number: int, axis: int, name: str) -> Any:
        """Leave all sizes open, those beside the batch with bounds that torch infers."""
        return self._leading(number, axis, name) or Dim.AUTO

    def _stepped(self, most: int) -> _Choose:
        """Leave multiples open of what the examples' sizes share with a number."""
        steps: dict[tuple[Any, ...], Any] = {}

        def choose(number: int, axis: int, name: str) -> Any:
            if axis == 0:
                return self._leading(number, axis, name)
            size = self._inputs[number].shape[axis]
            # Axes of one name and one size are the same; others only happen to be called alike.
            key = (name, size) if name else (number, axis)
            if key not in steps:
                steps[key] = Dim(f"steps{len(steps)}_", min=1)
            step = math.gcd(size, most)
            return step * steps[key] if step > 1 else steps[key]

        return choose


def _specs(graph: Graph, choose: _Choose) -> tuple[Mapping[int, Any] | None, ...]:
    """Write a way as the ``dynamic_shapes`` argument of ``torch.export.export``."""
    return tuple(
        {
            axis: dim
            for axis, name in enumerate(each.dims)
            if isinstance(name, str) and (dim := choose(number, axis, name)) is not None
        }
        or None
        for number, each in enumerate(graph.inputs)
    )
