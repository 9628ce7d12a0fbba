"""Element-wise operators, which tie the axes of their broadcast operands.

Each element of the result depends on the same element of every operand. Left out on purpose: ``softmax`` and other operators that mix a dimension (``reduce``), and what is made
from a shape (``create``).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .fixed_random import FixedRandom
from .registry import Sample, rule, sample, state_traits
from .traits import Flat

__all__ = ["broadcast"]

aten = torch.ops.aten


def broadcast(call: Call, layouts: Iterable[Layout], rank: int) -> Layout:
    """Tie the operands' axes, right-aligned as numpy does; size-1 axes stretch."""
    out: list[Axis] = [unlabelled(1)] * rank
    for layout in layouts:
        for i, axis in enumerate(layout, start=rank - len(layout)):
            out[i] = _join(call, out[i], axis)
    return tuple(out)


def _join(call: Call, left: Axis, right: Axis) -> Axis:
    if len(left) == 1:
        return right
    if len(right) == 1:
        return left
    call.tie(left, right)
    return left if left.shape[1] else right


def _tensors(call: Call) -> list[Layout]:
    values = [v for v in call.arguments.values() if isinstance(v, fx.Node)]
    return [call.layout(v) for v in values if isinstance(v.meta.get("val"), torch.Tensor)]


def _unary() -> list[Sample]:
    return [sample(torch.rand(2, 6, 3, 3) * 0.8 + 0.1)]


def _binary() -> list[Sample]:
    x = torch.rand(2, 6, 3, 3) + 0.5
    return [
        sample(x, torch.rand(2, 6, 3, 3) + 0.5),
        sample(x, torch.rand(6, 1, 1) + 0.5),
        sample(x, torch.rand(2, 6, 1, 1) + 0.5),
    ]


def _scalar() -> list[Sample]:
    return [sample(torch.rand(2, 6, 3, 3) + 0.5, 2)]


_UNARY = (
    aten.abs.default, aten.abs_.default, aten.absolute.default, aten.acos.default, aten.alias.default, aten.angle.default, aten.asin.default,
    aten.asinh.default, aten.atan.default, aten.atanh.default,
    aten.bernoulli.default, aten.bitwise_not.default, aten.ceil.default, aten.celu.default,
    aten.celu_.default, aten.clone.default, aten.conj_physical.default,
    aten.contiguous.default, aten.cos.default,
    aten.cosh.default, aten.deg2rad.default, aten.detach.default, aten.detach_.default, aten.digamma.default, aten.elu.default,
    aten.elu_.default, aten.empty_like.default, aten.erf.default, aten.erfc.default, aten.erfinv.default,
    aten.exp.default, aten.exp2.default, aten.exp_.default, aten.expm1.default,
    aten.exponential_.default,
    aten.floor.default, aten.frac.default, aten.gelu.default, aten.gelu_.default,
    aten.hardshrink.default, aten.hardsigmoid.default, aten.hardsigmoid_.default,
    aten.hardswish.default, aten.hardswish_.default, aten.hardtanh.default,
    aten.hardtanh_.default, aten.isfinite.default, aten.isinf.default, aten.isnan.default,
    aten.leaky_relu.default, aten.leaky_relu_.default, aten.lgamma.default, aten.lift_fresh_copy.default,
    aten.log.default, aten.log10.default, aten.log1p.default, aten.log2.default, aten.log_sigmoid.default,
    aten.logical_not.default, aten.logit.default, aten.mish.default, aten.mish_.default, aten.nan_to_num.default,
    aten.neg.default, aten.neg_.default, aten.negative.default, aten.normal_.default, aten.ones_like.default,
    aten.rad2deg.default, aten.rand_like.default, aten.randn_like.default, aten.real.default, aten.reciprocal.default,
    aten.resolve_conj.default, aten.resolve_neg.default,
    aten.relu.default, aten.relu6.default, aten.relu6_.default, aten.relu_.default,
    aten.round.default, aten.round_.default, aten.rrelu.default, aten.rrelu_.default, aten.rsqrt.default, aten.rsqrt_.default, aten.selu.default,
    aten.selu_.default, aten.sigmoid.default, aten.sigmoid_.default, aten.sign.default, aten.signbit.default, aten.sgn.default, aten.sinc.default,
    aten.silu.default, aten.silu_.default, aten.sin.default, aten.sinh.default,
    aten.softplus.default, aten.softshrink.default, aten.special_expit.default, aten.sqrt.default, aten.sqrt_.default,
    aten.square.default, aten.square_.default, aten.tan.default, aten.tanh.default, aten.tanh_.default,
    aten.trunc.default, aten.uniform_.default, aten.zero_.default, aten.zeros_like.default,
)  # fmt: skip

_BINARY = (
    aten.add.Tensor, aten.add_.Tensor, aten.atan2.default, aten.clamp_max.Tensor,
    aten.clamp_min.Tensor, aten.complex.default, aten.copy_.default, aten.copysign.Tensor,
    aten.div.Tensor, aten.div.Tensor_mode, aten.div_.Tensor, aten.eq.Tensor, aten.floor_divide.default,
    aten.fmax.default, aten.fmin.default, aten.fmod.Tensor, aten.ge.Tensor, aten.gt.Tensor, aten.heaviside.default, aten.hypot.default,
    aten.le.Tensor, aten.logaddexp.default, aten.logaddexp2.default, aten.logical_and.default, aten.logical_or.default,
    aten.logical_xor.default,
    aten.lt.Tensor, aten.max.other, aten.maximum.default, aten.min.other, aten.minimum.default, aten.mul.Tensor,
    aten.mul_.Tensor, aten.ne.Tensor, aten.multiply.Tensor, aten.normal.Tensor_Tensor, aten.polar.default, aten.pow.Tensor_Tensor,
    aten.remainder.Tensor, aten.rsub.Tensor, aten.sub.Tensor, aten.sub_.Tensor, aten.subtract.Tensor, aten.true_divide.Tensor,
    aten.xlogy.Tensor,
)  # fmt: skip

_SCALAR = (
    aten.add.Scalar, aten.add_.Scalar, aten.clamp.default, aten.clamp_.default,
    aten.clamp_max.default, aten.clamp_max_.default, aten.clamp_min.default,
    aten.clamp_min_.default, aten.clip.default, aten.div.Scalar, aten.div_.Scalar,
    aten.eq.Scalar, aten.float_power.Tensor_Scalar, aten.floor_divide.Scalar,
    aten.fmod.Scalar, aten.fill.Scalar, aten.fill_.Scalar, aten.full_like.default,
    aten.ge.Scalar, aten.gt.Scalar, aten.le.Scalar, aten.lt.Scalar, aten.mul.Scalar,
    aten.mul_.Scalar, aten.ne.Scalar, aten.pow.Tensor_Scalar, aten.pow_.Scalar,
    aten.remainder.Scalar, aten.rsub.Scalar, aten.sub.Scalar, aten.sub_.Scalar,
)  # fmt: skip


def _pointwise(call: Call) -> Layout:
    layout = broadcast(call, _tensors(call), len(call.out_shape))
    call.loud(*_loud(call, layout))
    return layout


_PRODUCTS = {aten.mul.Tensor, aten.mul_.Tensor}
_QUOTIENTS = {aten.div.Tensor, aten.div.Tensor_mode, aten.div_.Tensor, aten.true_divide.Tensor}


def _loud(call: Call, result: Layout) -> list[Axis]:
    """List the axes along which zero rows of the operands don't give zero rows of the result.

    A product gives them where one factor has them, a quotient where its numerator has and none of the
    denominator's can go; of other functions the value at zero is looked up. An operand that is
    stretched along an axis isn't zero at one of its rows.
    """
    loud: list[Axis] = []
    for dim, axis in enumerate(result):
        if not call.removable(axis):
            continue
        zero = {
            node
            for node in _operands(call)
            if len(layout := call.layout(node)) >= len(result) - dim
            and len(own := layout[dim - len(result)]) == len(axis)
            and call.quiet(node, own)
        }
        if not _is_quiet(call, zero):
            loud.append(axis)
    return loud


def _is_quiet(call: Call, zero: set[fx.Node]) -> bool:
    """Whether the result is zero at a row where some of the operands are."""
    if call.node.target in _PRODUCTS:
        return bool(zero)
    if call.node.target in _QUOTIENTS:
        divisor = call.layout(call["other"]) if call["other"] in _operands(call) else ()
        return call["self"] in zero and not call.removable(*divisor)
    return set(_operands(call)) == zero and _is_zero_at_zero(call)


def _operands(call: Call) -> list[fx.Node]:
    nodes = call.node.all_input_nodes
    return [node for node in nodes if isinstance(node.meta.get("val"), torch.Tensor)]


def _is_zero_at_zero(call: Call) -> bool:
    arguments = call.arguments | (
        {"device": torch.device("cpu")} if "device" in call.arguments else {}
    )
    for name, value in arguments.items():
        tensor = value.meta.get("val") if isinstance(value, fx.Node) else None
        if isinstance(tensor, torch.Tensor):
            arguments[name] = torch.zeros(1, dtype=tensor.dtype)
        elif isinstance(value, fx.Node):
            return False
    with FixedRandom():
        return bool((call.node.target(**arguments) == 0).all())  # type: ignore[operator]


for _operator in _UNARY:
    _samples = _unary
    if _operator is aten.bitwise_not.default:
        _samples = lambda: [sample(torch.rand(2, 6) > 0.5, free=False)]  # noqa: E731
    rule(_operator, samples=_samples)(_pointwise)
for _operator in _BINARY:
    _samples = _binary
    if _operator is aten.div.Tensor_mode:
        _samples = lambda: [  # noqa: E731
            sample(torch.rand(2, 6) + 0.5, torch.rand(2, 6) + 0.5, rounding_mode="floor")
        ]
    rule(_operator, samples=_samples)(_pointwise)
for _operator in _SCALAR:
    rule(_operator, samples=_scalar)(_pointwise)


@rule(
    aten.__and__.Tensor,
    aten.__or__.Tensor,
    aten.bitwise_and.Tensor,
    aten.bitwise_or.Tensor,
    samples=lambda: [sample(torch.rand(2, 6) > 0.5, torch.rand(6) > 0.5, free=False)],
)
def logical(call: Call) -> Layout:
    """Combine masks by logical operators; masks that are stored have no labels."""
    return _pointwise(call)


@rule(
    aten.threshold.default,
    aten.threshold_.default,
    samples=lambda: [sample(torch.rand(2, 6), 0.5, 0.2)],
)
@rule(aten.round.decimals, samples=lambda: [sample(torch.rand(2, 6), decimals=2)])
@rule(
    aten.bernoulli.p,
    aten.bernoulli_.float,
    aten.normal.Tensor_float,
    samples=lambda: [sample(torch.rand(2, 6), 0.4)],
)
@rule(aten.bernoulli_.Tensor, samples=lambda: [sample(torch.rand(2, 6), torch.rand(2, 6))])
@rule(aten.normal.float_Tensor, samples=lambda: [sample(0.4, torch.rand(2, 6))])
@rule(aten.randint_like.default, samples=lambda: [sample(torch.rand(2, 6), 9)])
@rule(aten.randint_like.low_dtype, samples=lambda: [sample(torch.rand(2, 6), 3, 9)])
@rule(
    aten._conj.default,
    aten.conj.default,
    aten.imag.default,
    samples=lambda: [sample(torch.randn(2, 6, dtype=torch.complex64))],
)
def with_options(call: Call) -> Layout:
    """Apply a function of one operand whose options have no default."""
    return _pointwise(call)


@rule(aten.pow.Scalar, samples=lambda: [sample(2.0, torch.rand(2, 6))])
def power_of_scalar(call: Call) -> Layout:
    """Raise a scalar to each element: ``scalar ** x[i]``."""
    return call.layout("exponent")


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
    return _pointwise(call)


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
    return _pointwise(call)


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
    return _pointwise(call)


@rule(
    aten.addcmul.default,
    aten.addcmul_.default,
    aten.addcdiv.default,
    samples=lambda: [sample(torch.rand(2, 6), torch.rand(2, 6), torch.rand(6) + 0.5)],
)
def addcmul(call: Call) -> Layout:
    """Compute ``x + value * a * b`` or ``x + value * a / b``, element by element."""
    return _pointwise(call)


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
    return _pointwise(call)


state_traits(
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.detach_.default,
    aten.lift_fresh_copy.default,
    aten.resolve_conj.default,
    aten.resolve_neg.default,
    identity=True,
)
state_traits(aten.relu.default, aten.relu_.default, flat=Flat(lower=0))
state_traits(aten.relu6.default, aten.relu6_.default, flat=Flat(lower=0, upper=6))
state_traits(aten.hardtanh.default, aten.hardtanh_.default, flat=Flat("min_val", "max_val"))
state_traits(
    aten.clamp.default, aten.clamp_.default, aten.clip.default, flat=Flat(lower="min", upper="max")
)
state_traits(aten.clamp_min.default, aten.clamp_min_.default, flat=Flat(lower="min"))
state_traits(aten.clamp_max.default, aten.clamp_max_.default, flat=Flat(upper="max"))
state_traits(aten.hardsigmoid.default, aten.hardsigmoid_.default, flat=Flat(lower=-3, upper=3))
state_traits(aten.hardswish.default, aten.hardswish_.default, flat=Flat(lower=-3))
state_traits(aten.threshold.default, aten.threshold_.default, flat=Flat(lower="threshold"))
state_traits(aten.round.default, aten.round_.default, rounds=True)
state_traits(aten.sigmoid.default, aten.sigmoid_.default, sigmoid="plain")
state_traits(aten.silu.default, aten.silu_.default, sigmoid="times")
state_traits(aten.add.Tensor, aten.add_.Tensor, aten.add.Scalar, aten.add_.Scalar, arithmetic="sum")
state_traits(
    aten.mul.Tensor,
    aten.mul_.Tensor,
    aten.multiply.Tensor,
    aten.mul.Scalar,
    aten.mul_.Scalar,
    arithmetic="product",
)
state_traits(
    aten.div.Tensor,
    aten.div_.Tensor,
    aten.div.Scalar,
    aten.div_.Scalar,
    aten.true_divide.Tensor,
    quotient=True,
)
state_traits(
    aten.add.Tensor,
    aten.add_.Tensor,
    aten.neg.default,
    aten.neg_.default,
    aten.negative.default,
    aten.sub.Tensor,
    aten.sub_.Tensor,
    aten.subtract.Tensor,
    linear=True,
)
for _operator, _power in (
    (aten.reciprocal.default, -1.0),
    (aten.rsqrt.default, -0.5),
    (aten.sqrt.default, 0.5),
    (aten.square.default, 2.0),
):
    state_traits(_operator, power=_power)
_UNLIKE = {
    aten.empty_like.default,
    aten.copy_.default,
    aten.rrelu.default,
    aten.rrelu_.default,
    aten.normal_.default,
}
"""Operators of the lists above whose results aren't a function of the operands' elements, or in training not one."""

for _operator in (*_UNARY, *_BINARY, *_SCALAR):
    if _operator not in _UNLIKE and torch.Tag.nondeterministic_seeded not in _operator.tags:
        state_traits(_operator, elementwise=True)
