"""Make example inputs for an ONNX file, or check those that the user gives."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch

from graphprune.errors import LoadError
from graphprune.loading.example_tensors import Example, in_order

from .batch_axes import batch_axes
from .element_types import DTYPES
from .index_ranges import index_ranges
from .read_graph import Graph, Input
from .values import MAX_ELEMENTS

__all__ = ["examples"]


def examples(graph: Graph, given: Sequence[Example]) -> tuple[torch.Tensor, ...]:
    """Make one example of each input, of the sizes that the file states or the given ones have.

    Of inputs whose sizes are all stated, none need be given.

    Raises:
        LoadError: if the given ones don't fit, or sizes other than the batch are open and not given.
    """
    rows, batch = index_ranges(graph), batch_axes(graph)
    stated = {each.name for each in graph.inputs if all(isinstance(n, int) for n in each.dims)}
    found = _fitting(graph, _in_order(graph, given, stated))
    generator = torch.Generator().manual_seed(0)
    return tuple(
        _made(graph, each, batch[each.name], rows.get(each.name, 2), generator) if x is None else x
        for each, x in zip(graph.inputs, found, strict=True)
    )


def _in_order(
    graph: Graph, given: Sequence[Example], stated: Collection[str]
) -> list[torch.Tensor | None]:
    """Put the given examples to their inputs; of the others the sizes have to be stated.

    Raises:
        LoadError: if an input whose sizes are open is missing where others are given, or there are too many.
    """
    names = [each.name for each in graph.inputs]
    ordered: list[torch.Tensor | None] = [*in_order(given, names, stated)] if given else []
    ordered += [None] * (len(names) - len(ordered))
    missing = [
        name for name, x in zip(names, ordered, strict=False) if x is None and name not in stated
    ]
    if given and (missing or len(ordered) > len(names)):
        count = sum(x is not None for x in ordered)
        lacking = f"; none is given for {', '.join(map(ascii, missing))}" if missing else ""
        raise LoadError(
            f"the ONNX model takes {len(names)} inputs, not {count}{lacking:.200}",
            options=("input",),
        )
    return ordered


def _made(
    graph: Graph, value: Input, batch: int, rows: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw an example of one input.

    Args:
        graph: the file's.
        value: the input.
        batch: its axis over the samples, which has one row if the file leaves it open.
        rows: how many rows it may number, if it holds whole numbers.
        generator: draws it.

    Raises:
        LoadError: if other sizes are open.
    """
    sizes = [
        1 if axis == batch and not isinstance(n, int) else n for axis, n in enumerate(value.dims)
    ]
    open_ = [n or "?" for n in sizes if not isinstance(n, int)]
    if open_:
        raise LoadError(
            f"input {value.name!a:.80} leaves sizes open: {', '.join(open_)[:80]}",
            hint="state them for each input, such as 1x3x224x224",
            options=("input",),
        )
    whole = [int(n) for n in sizes]
    if math.prod(whole) > MAX_ELEMENTS:
        raise LoadError(f"input {value.name!a:.80} is too large")
    dtype = _dtype(graph, value.name, value.type)
    if dtype.is_floating_point:
        return torch.randn(whole, generator=generator).to(dtype)
    return torch.randint(0, rows, whole, generator=generator).to(dtype)


def _fitting(graph: Graph, given: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Check the given examples against the sizes and types that the file states."""
    found: list[torch.Tensor | None] = []
    for each, x in zip(graph.inputs, given, strict=True):
        if x is None:
            found.append(None)
            continue
        pairs = list(zip(each.dims, x.shape, strict=False))
        if len(each.dims) != x.dim() or any(isinstance(n, int) and n != size for n, size in pairs):
            wanted = "x".join(str(n) or "?" for n in each.dims)
            raise LoadError(
                f"input {each.name!a:.80} has the shape {wanted}",
                hint="state sizes for what is open, and the file's own for the rest",
                options=("input",),
            )
        found.append(x.to(_dtype(graph, each.name, each.type)))
    return found


def _dtype(graph: Graph, name: str, kind: int) -> torch.dtype:
    if (dtype := DTYPES.get(kind)) is None:
        raise LoadError(f"input {name!a:.80} has elements of a type that is not supported")
    return dtype
