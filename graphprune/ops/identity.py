"""Operators that hand elements on: dropout, casts, broadcasting, and slopes and gates of channels."""

from __future__ import annotations

import torch

from graphprune.axes.layout import Layout

from .broadcast import broadcast
from .call import Call
from .facts import Result
from .registry import rule, sample, state_traits

__all__: list[str] = []

aten = torch.ops.aten


_DROPOUTS = (
    aten.alpha_dropout.default,
    aten.alpha_dropout_.default,
    aten.dropout.default,
    aten.dropout_.default,
    aten.feature_alpha_dropout.default,
    aten.feature_alpha_dropout_.default,
    aten.feature_dropout.default,
    aten.feature_dropout_.default,
)


@rule(
    *_DROPOUTS,
    samples=lambda: [sample(torch.rand(2, 6, 3), 0.5, False)],
    quiet=True,
)
def dropout(call: Call) -> Layout:
    """Drop elements at random in training; the identity in evaluation."""
    return call.first


@rule(
    aten.to.dtype,
    samples=lambda: [sample(torch.rand(2, 6), torch.float32)],
    quiet=True,
)
@rule(
    aten.type_as.default,
    samples=lambda: [sample(torch.rand(2, 6), torch.rand(3, 5))],
    quiet=True,
)
def cast(call: Call) -> Layout:
    """Change dtype or device; only the first operand's axes matter."""
    return call.layout("self")


@rule(
    aten.to.device,
    samples=lambda: [sample(torch.rand(2, 6), torch.device("cpu"), torch.float32)],
    quiet=True,
)
@rule(
    aten.to.dtype_layout,
    aten._to_copy.default,
    samples=lambda: [sample(torch.rand(2, 6), dtype=torch.float32)],
    quiet=True,
)
def move(call: Call) -> Layout:
    """Change device, memory layout or dtype."""
    return call.layout("self")


@rule(
    aten.prelu.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 3), torch.rand(6)),
        sample(torch.randn(2, 6, 3), torch.rand(1)),
        sample(torch.randn(2, 6, 3), torch.tensor(0.25)),
    ],
    quiet=True,
)
def prelu(call: Call) -> Layout:
    """Rectify with a slope for negative values: one for each channel (axis 1), or one for all."""
    layout, slopes = call.layout("self"), call.layout("weight")
    if slopes and len(slopes[0]) > 1:
        call.tie(layout[1], slopes[0])
    return layout


@rule(
    aten.broadcast_tensors.default,
    samples=lambda: [sample([torch.rand(2, 6, 1), torch.rand(6, 3)])],
)
def broadcast_all(call: Call) -> Result:
    """Expand all operands to their common shape."""
    shapes = call.out_shapes
    return [broadcast(call, call.layouts("tensors"), len(shapes[0]))] * len(shapes)


@rule(
    aten.glu.default,
    samples=lambda: [sample(torch.randn(2, 12, 3), 1)],
    quiet=True,
)
def glu(call: Call) -> Layout:
    """Multiply the first half of an axis by the sigmoid of the second: the halves are tied."""
    layout = call.layout("self")
    dim = call.dim(call["dim"], len(layout))
    half = len(layout[dim]) // 2
    first, second = layout[dim][:half], layout[dim][half:]
    call.tie(first, second)
    return (*layout[:dim], first, *layout[dim + 1 :])


state_traits(*_DROPOUTS, identity=True, unless="train")
state_traits(
    aten._to_copy.default,
    aten.to.device,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.type_as.default,
    identity=True,
)
