"""Element-wise operators of one or two operands, which tie the axes of what is broadcast.

Each element of the result depends on the same element of every operand. Left out on purpose: ``softmax`` and other operators that mix a
dimension (``reduce``), and what is made from a shape (``create``). Those of three operands are in ``ternary``.
"""

from __future__ import annotations

import torch

from graphprune.axes.layout import Layout

from .broadcast import pointwise
from .call import Call
from .registry import Sample, rule, sample, state_traits
from .traits import Flat

__all__: list[str] = []

aten = torch.ops.aten


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


for _operator in _UNARY:
    _samples = _unary
    if _operator is aten.bitwise_not.default:
        _samples = lambda: [sample(torch.rand(2, 6) > 0.5, free=False)]  # noqa: E731
    rule(_operator, samples=_samples)(pointwise)
for _operator in _BINARY:
    _samples = _binary
    if _operator is aten.div.Tensor_mode:
        _samples = lambda: [  # noqa: E731
            sample(torch.rand(2, 6) + 0.5, torch.rand(2, 6) + 0.5, rounding_mode="floor")
        ]
    rule(_operator, samples=_samples)(pointwise)
for _operator in _SCALAR:
    rule(_operator, samples=_scalar)(pointwise)


@rule(
    aten.__and__.Tensor,
    aten.__or__.Tensor,
    aten.bitwise_and.Tensor,
    aten.bitwise_or.Tensor,
    samples=lambda: [sample(torch.rand(2, 6) > 0.5, torch.rand(6) > 0.5, free=False)],
)
def logical(call: Call) -> Layout:
    """Combine masks by logical operators; masks that are stored have no labels."""
    return pointwise(call)


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
    return pointwise(call)


@rule(aten.pow.Scalar, samples=lambda: [sample(2.0, torch.rand(2, 6))])
def power_of_scalar(call: Call) -> Layout:
    """Raise a scalar to each element: ``scalar ** x[i]``."""
    return call.layout("exponent")


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
