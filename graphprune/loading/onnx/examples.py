"""Make example inputs for an ONNX file, or check those that the user gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from graphprune.errors import LoadError
from graphprune.loading.example_tensors import Example, in_order

from .batch_axes import batch_axes
from .element_types import DTYPES
from .index_ranges import index_ranges
from .read_graph import Graph
from .values import MAX_ELEMENTS

__all__ = ["examples"]


def examples(graph: Graph, given: Sequence[Example]) -> tuple[torch.Tensor, ...]:
    """Make one example of each input, of the sizes that the file states or the given ones have.

    Raises:
        LoadError: if the given ones don't fit, or sizes other than the batch are open and none are given.
    """
    if given:
        ordered = in_order(given, [each.name for each in graph.inputs])
        return _fitting(graph, [each for each in ordered if each is not None])
    generator, rows, batch = (
        torch.Generator().manual_seed(0),
        index_ranges(graph),
        batch_axes(graph),
    )
    made = []
    for each in graph.inputs:
        sizes = [
            1 if axis == batch[each.name] and not isinstance(n, int) else n
            for axis, n in enumerate(each.dims)
        ]
        open_ = [n or "?" for n in sizes if not isinstance(n, int)]
        if open_:
            raise LoadError(
                f"input {each.name!a:.80} leaves sizes open: {', '.join(open_)[:80]}",
                hint="state them for each input, such as 1x3x224x224",
                options=("input",),
            )
        whole = [int(n) for n in sizes]
        if math.prod(whole) > MAX_ELEMENTS:
            raise LoadError(f"input {each.name!a:.80} is too large")
        dtype = _dtype(graph, each.name, each.type)
        made.append(
            torch.randn(whole, generator=generator).to(dtype)
            if dtype.is_floating_point
            else torch.randint(0, rows.get(each.name, 2), whole, generator=generator).to(dtype)
        )
    return tuple(made)


def _fitting(graph: Graph, given: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Check the given examples against the sizes and types that the file states."""
    if len(given) != len(graph.inputs):
        raise LoadError(
            f"the ONNX model takes {len(graph.inputs)} inputs, not {len(given)}",
            options=("input",),
        )
    found = []
    for each, x in zip(graph.inputs, given, strict=True):
        pairs = list(zip(each.dims, x.shape, strict=False))
        if len(each.dims) != x.dim() or any(isinstance(n, int) and n != size for n, size in pairs):
            wanted = "x".join(str(n) or "?" for n in each.dims)
            raise LoadError(
                f"input {each.name!a:.80} has the shape {wanted}",
                hint="state sizes for what is open, and the file's own for the rest",
                options=("input",),
            )
        found.append(x.to(_dtype(graph, each.name, each.type)))
    return tuple(found)


def _dtype(graph: Graph, name: str, kind: int) -> torch.dtype:
    if (dtype := DTYPES.get(kind)) is None:
        raise LoadError(f"input {name!a:.80} has elements of a type that is not supported")
    return dtype
