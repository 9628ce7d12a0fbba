"""Operators that create tensors of given sizes: axes get new labels, and the sizes are rewritten."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .facts import Result, resized
from .registry import rule, sample, state_traits

__all__ = ["fresh_layout"]

aten = torch.ops.aten


def fresh_layout(call: Call, argument: str) -> Layout:
    """Make new labels for every literal size; symbolic sizes are batch-like and get none."""
    sizes = call[argument]

    def axis(i: int, size: int) -> Axis:
        return unlabelled(size) if isinstance(sizes[i], fx.Node) else call.fresh(size, i)

    return tuple(axis(i, size) for i, size in enumerate(call.out_shape))


@rule(
    aten.full.default,
    samples=lambda: [sample([2, 6], 0.5)],
)
@rule(
    aten.empty.memory_format,
    aten.ones.default,
    aten.rand.default,
    aten.randn.default,
    aten.zeros.default,
    samples=lambda: [sample([2, 6])],
)
@rule(
    aten.new_empty.default,
    aten.new_ones.default,
    aten.new_zeros.default,
    samples=lambda: [sample(torch.randn(3), [2, 6])],
)
@rule(
    aten.new_full.default,
    samples=lambda: [sample(torch.randn(3), [2, 6], 0.5)],
)
@rule(aten.normal.float_float, samples=lambda: [sample(0.0, 1.0, [2, 6])])
@rule(aten.randint.default, samples=lambda: [sample(9, [2, 6])])
@rule(aten.randint.low, samples=lambda: [sample(3, 9, [2, 6])])
def filled(call: Call) -> Layout:
    """Create constant or random tensors, alike in all rows: any row can be removed."""
    layout = fresh_layout(call, "size")
    sizes = list(call["size"])
    call.rewrite("size", lambda kept: resized(sizes, layout, kept))
    if call.node.target in _ZEROS or call.arguments.get("fill_value") == 0:
        call.loud()  # along no axis
    return layout


_ZEROS = (aten.zeros.default, aten.new_zeros.default)


@rule(
    aten.arange.default,
    samples=lambda: [sample(6, free=False)],
)
@rule(
    aten.arange.start,
    samples=lambda: [sample(0, 6, free=False)],
)
@rule(
    aten.arange.start_step,
    samples=lambda: [sample(0, 6, 2, free=False)],
)
@rule(
    aten.eye.default,
    samples=lambda: [sample(6, free=False)],
)
@rule(
    aten.linspace.default,
    samples=lambda: [sample(0, 1, 6, free=False)],
)
@rule(
    aten.scalar_tensor.default,
    samples=lambda: [sample(2.0, free=False)],
)
def counted(call: Call) -> Layout:
    """Create values that depend on the position: no row can be removed."""
    return tuple(unlabelled(size) for size in call.out_shape)


@rule(
    aten.meshgrid.indexing,
    samples=lambda: [sample([torch.arange(6), torch.arange(4)], indexing="ij", free=False)],
)
def grids(call: Call) -> Result:
    """Create the coordinates of a grid, whose axes stay whole."""
    call.freeze(*(axis for layout in call.layouts("tensors") for axis in layout))
    return [tuple(map(unlabelled, shape)) for shape in call.out_shapes]


@rule(aten.item.default, samples=lambda: [sample(torch.tensor(2.0), free=False)])
@rule(
    aten.sym_size.int,
    samples=lambda: [sample(torch.randn(2, 3), 0, free=False)],
)
def number(_: Call) -> Result:
    """Read a number, such as a symbolic size; literal sizes are constants in the graph and get rewritten."""
    return None


@rule(aten.sym_numel.default, samples=lambda: [sample(torch.randn(2, 3), free=False)])
def count(call: Call) -> Result:
    """Count the elements of a tensor, a number that a cut would change: all axes are frozen."""
    call.freeze(*call.layout("self"))
    return None


@rule(
    aten._assert_tensor_metadata.default,
    samples=lambda: [
        sample(torch.randn(2, 3), dtype=torch.float32, free=False),
        sample(torch.randn(2, 3), [2, 3], free=False),
        sample(torch.randn(2, 3), stride=[3, 1], free=False),
    ],
)
def assertion(call: Call) -> Result:
    """Assert sizes or types, without a result; where sizes or strides are stated, all axes are frozen."""
    if call["size"] is not None or call["stride"] is not None:
        call.freeze(*call.layout("a"))
    return None


state_traits(aten.sym_size.int, aten._assert_tensor_metadata.default, metadata=True)
