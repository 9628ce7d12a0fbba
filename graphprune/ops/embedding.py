"""Gathering operators, which read rows by index: the indexed dimensions stay whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout, with_axis

from .broadcast import broadcast
from .call import Call
from .facts import Result
from .pick_rows import pick_rows
from .registry import Sample, rule, sample

__all__ = ["consumed", "tie_others"]

aten = torch.ops.aten


def consumed(indices: list[Any]) -> list[int]:
    """List the dimensions that the tensors of an index list index; a mask takes as many as it has."""
    dims, dim = [], 0
    for item in indices:
        width = 1
        if isinstance(item, fx.Node):
            width = item.meta["val"].ndim if _is_mask(item) else 1
            dims.extend(range(dim, dim + width))
        dim += width
    return dims


def _is_mask(index: fx.Node) -> bool:
    """Whether an index says of each row whether it is taken; bytes do, as they did before there was bool."""
    return index.meta["val"].dtype in (torch.bool, torch.uint8)


@rule(
    aten.index.Tensor,
    samples=lambda: [
        sample(torch.randn(2, 6, 3), [None, torch.tensor([4, 0, 2])]),
        sample(torch.randn(2, 6, 3), [None, torch.tensor([-1, 0, 0, 2])]),
        sample(torch.randn(6, 5), [torch.tensor([[4, 0, 0], [1, 2, 3]])]),
        sample(torch.randn(3, 4, 6), [torch.tensor([0, 2]), torch.tensor([1, 1])]),
        sample(torch.randn(2, 3, 6), [torch.tensor([[True, False, True], [False, True, True]])]),
        sample(torch.randn(4, 6), [torch.tensor([True, False, True, True])]),
        sample(torch.randn(4, 6), [torch.tensor([1, 0, 1, 1], dtype=torch.uint8)]),
        sample(torch.randn(2, 6), [torch.rand(2, 6) > 0.5], free=False),
    ],
)
def index(call: Call) -> Layout:
    """Index a tensor by tensors (advanced indexing): indexed dimensions stay whole, others are handed on.

    The index dimensions stand where the indexed ones stood, or in front if these are apart. Rows that one stored vector
    of indices selects may be removed like others.
    """
    layout, indices = call.layout("self"), call["indices"]
    given, dims = [item for item in indices if item is not None], consumed(indices)
    is_single = len(given) == len(dims) == 1 and not _is_mask(given[0])
    stored = call.constant(given[0]) if is_single else None
    if stored is not None and stored.ndim == 1:
        return pick_rows(call, dims[0], stored % len(layout[dims[0]]))
    call.freeze(*(layout[i] for i in dims))
    for item in given:
        call.freeze(*call.layout(item))
    rest = [axis for i, axis in enumerate(layout) if i not in dims]
    added = len(call.out_shape) - len(rest)
    adjacent = dims == list(range(dims[0], dims[-1] + 1)) if dims else False
    start = dims[0] if adjacent else 0
    new = [unlabelled(size) for size in call.out_shape[start : start + added]]
    return (*rest[:start], *new, *rest[start:])


@rule(
    aten.embedding.default,
    samples=lambda: [sample(torch.randn(9, 6), torch.tensor([[4, 0, 2], [1, 1, 8]]))],
)
def embedding(call: Call) -> Layout:
    """Look up rows of a table ``[vocabulary, dim]``: the vocabulary stays whole, ``dim`` is handed on."""
    table = call.layout("weight")
    call.freeze(table[0])
    call.loud(*call.layout("indices"), *([] if call.quiet("weight", table[1]) else table[1:]))
    return (*call.layout("indices"), table[1])


def _bags(mode: int, weights: torch.Tensor | None = None) -> Sample:
    table, indices, offsets = torch.randn(9, 6), torch.tensor([4, 0, 2, 1, 1]), torch.tensor([0, 2])
    return sample(table, indices, offsets, False, mode, False, weights, False, None)


@rule(
    aten.embedding_bag.padding_idx,
    samples=lambda: [_bags(0), _bags(1), _bags(0, torch.rand(5))],
)
def embedding_bag(call: Call) -> Result:
    """Sum or average rows of an embedding table; the mode ``max`` freezes all of the table."""
    table = call.layout("weight")
    call.freeze(*(table if call["mode"] == 2 else table[:1]))
    for name in ("indices", "offsets", "per_sample_weights"):
        if call[name] is not None:
            call.freeze(*call.layout(name))
    call.loud(*([] if call.quiet("weight", table[1]) else table[1:]))
    bags, *others = call.out_shapes
    return [(unlabelled(bags[0]), table[1]), *(tuple(map(unlabelled, shape)) for shape in others)]


@rule(
    aten.gather.default,
    samples=lambda: [
        sample(torch.randn(2, 6), 1, torch.tensor([[4, 0], [1, 1]]), free=False),
        sample(torch.randn(3, 6), 1, torch.tensor([[4, 0], [1, 1]]), free=False),
    ],
)
def gather(call: Call) -> Layout:
    """Gather ``y[i][j] = x[index[i][j]][j]`` (``dim`` 0): the other dimensions are tied."""
    layout, index = call.layout("self"), call.layout("index")
    tie_others(call, call.dim(call["dim"], len(layout)), layout, index)
    return index


@rule(
    aten.take_along_dim.default,
    samples=lambda: [
        sample(torch.randn(2, 6), torch.tensor([[4, 0], [1, 1]]), 1, free=False),
        sample(torch.randn(2, 6, 3), torch.tensor([[[1], [0], [2], [1], [0], [2]]]), 2),
        sample(torch.randn(2, 6), torch.tensor([4, 0]), free=False),
    ],
)
def take_along(call: Call) -> Layout:
    """Gather with broadcast dimensions; without ``dim``, from the flattened tensor."""
    layout, indices = call.layout("self"), call.layout("indices")
    if call["dim"] is None:
        call.freeze(*layout, *indices)
        return tuple(map(unlabelled, call.out_shape))
    dim = call.dim(call["dim"], len(layout))
    call.freeze(layout[dim], indices[dim])
    rest = broadcast(
        call, [with_axis(each, dim, unlabelled(1)) for each in (layout, indices)], len(layout)
    )
    return with_axis(rest, dim, unlabelled(call.out_shape[dim]))


def tie_others(call: Call, dim: int, layout: Layout, other: Layout) -> None:
    """Tie all dimensions but one, which stays whole, as do dimensions where the other is shorter."""
    for i, (mine, theirs) in enumerate(zip(layout, other, strict=True)):
        if i == dim or len(mine) != len(theirs):
            call.freeze(mine, theirs)
        else:
            call.tie(mine, theirs)
