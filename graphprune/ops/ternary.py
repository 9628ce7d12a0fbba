"""Element-wise operators of three operands, some of which may be numbers: choice, bounds, interpolation."""

from __future__ import annotations

import torch

from graphprune.axes.layout import Layout

from .broadcast import pointwise
from .call import Call
from .registry import rule, sample

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten.where.ScalarOther,
    samples=lambda: [sample(torch.rand(2, 1, 4) > 0.5, torch.rand(2, 6, 4), 0.0)],
)
@rule(
    aten.where.ScalarSelf,
    samples=lambda: [sample(torch.rand(2, 1, 4) > 0.5, 0.0, torch.rand(2, 6, 4))],
)
@rule(
    aten.where.self,
    samples=lambda: [sample(torch.rand(2, 1, 4) > 0.5, torch.rand(2, 6, 4), torch.rand(6, 1))],
)
def where(call: Call) -> Layout:
    """Choose element by element; the condition takes part in the broadcast."""
    return pointwise(call)


@rule(
    aten.masked_fill.Scalar,
    aten.masked_fill_.Scalar,
    samples=lambda: [sample(torch.rand(2, 6, 4), torch.rand(2, 1, 4) > 0.5, 0.0)],
)
@rule(
    aten.masked_fill.Tensor,
    aten.masked_fill_.Tensor,
    samples=lambda: [
        sample(torch.rand(2, 6, 4), torch.rand(2, 1, 4) > 0.5, torch.tensor(0.5)),
    ],
)
def masked_fill(call: Call) -> Layout:
    """Fill where a mask is set; the mask takes part in the broadcast."""
    return pointwise(call)


@rule(
    aten.fill_.Tensor,
    samples=lambda: [sample(torch.rand(2, 6, 4), torch.tensor(0.5))],
)
def fill(call: Call) -> Layout:
    """Overwrite every element by one value."""
    return call.layout("self")


@rule(
    aten.clamp.Tensor,
    samples=lambda: [
        sample(torch.rand(2, 6), torch.rand(6) / 2),
        sample(torch.rand(2, 6), None, torch.rand(2, 1)),
    ],
)
def clamp(call: Call) -> Layout:
    """Clamp each element, ``min(max(x, low), high)``; either bound may be missing."""
    return pointwise(call)


@rule(
    aten.addcmul.default,
    aten.addcmul_.default,
    aten.addcdiv.default,
    samples=lambda: [sample(torch.rand(2, 6), torch.rand(2, 6), torch.rand(6) + 0.5)],
)
def addcmul(call: Call) -> Layout:
    """Compute ``x + value * a * b`` or ``x + value * a / b``, element by element."""
    return pointwise(call)


@rule(
    aten.lerp.Tensor,
    samples=lambda: [sample(torch.rand(2, 6), torch.rand(2, 6), torch.rand(6))],
)
@rule(
    aten.lerp.Scalar,
    aten.lerp_.Scalar,
    samples=lambda: [sample(torch.rand(2, 6), torch.rand(2, 6), 0.3)],
)
def lerp(call: Call) -> Layout:
    """Interpolate linearly, ``start + weight * (end - start)``."""
    return pointwise(call)
