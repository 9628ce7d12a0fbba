"""Fake quantisation, which rounds values to those that a few bits can hold: the channels are handed on.

Where each channel has a scale and a zero point of its own, these are cut with it, as are the ranges
that an observer has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.layout import Layout
from graphprune.ir.private_torch import schema_of

from .call import Call
from .facts import Result
from .registry import Sample, rule, sample, state_traits

__all__: list[str] = []

aten = torch.ops.aten

_OBSERVES = (
    "observes the ranges of values, which changes them with every call; "
    "model.apply(torch.ao.quantization.disable_observer) stops that"
)


def _rounded(x: Tensor, scale: Tensor | float, zero: Tensor | float, low: int, high: int) -> Tensor:
    """Round to whole multiples of the scale, within bounds. A scale of zero gives zero.

    A zero point that is learned needn't be a whole number within bounds; it is rounded to one.
    """
    if isinstance(zero, Tensor):
        zero = zero.to(x.dtype).round().clamp(low, high)
    steps = (x / scale).nan_to_num().round() + zero
    return (steps.clamp(low, high) - zero) * scale


def _per_tensor(
    x: Tensor, scale: Any, zero: Any, low: int, high: int, grad_factor: float = 1.0
) -> Tensor:
    del grad_factor
    return _rounded(x, scale, zero, low, high)


def _per_channel(
    x: Tensor, scale: Tensor, zero: Tensor, axis: int, low: int, high: int, grad_factor: float = 1.0
) -> Tensor:
    del grad_factor
    size = [-1 if dim == axis % x.ndim else 1 for dim in range(x.ndim)]
    return _rounded(x, scale.view(size), zero.view(size), low, high)


def _with_mask(compute: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the mask of the values within bounds too, which only training reads: here all are."""

    def compute_both(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return compute(x, *args, **kwargs), torch.ones_like(x, dtype=torch.bool)

    return compute_both


def _if_enabled(
    x: Tensor, scale: Tensor, zero: Tensor, enabled: Tensor, low: int, high: int
) -> Tensor:
    return _rounded(x, scale, zero, low, high) if bool(enabled.any()) else x


def _observed(*args: Any, **kwargs: Any) -> Tensor:
    """Round by the scales that the operator derives from the ranges; it takes float32 only."""
    operator = aten.fused_moving_avg_obs_fake_quant.default
    given: dict[str, Any] = {a.name: a.default_value for a in schema_of(operator).arguments}
    given |= dict(zip(given, args, strict=False)) | kwargs
    x: Tensor = given["self"]
    written = ("running_min", "running_max", "scale")
    given |= {name: given[name].to(torch.float32, copy=True) for name in written}
    given |= {"self": x.float(), "zero_point": given["zero_point"].clone()}
    operator(**given)
    if not bool(given["fake_quant_on"].any()):
        return x
    scale, bounds = given["scale"].to(x), (given["quant_min"], given["quant_max"])
    if given["per_row_fake_quant"]:
        return _per_channel(x, scale, given["zero_point"], given["ch_axis"], *bounds)
    return _rounded(x, scale, given["zero_point"], *bounds)


@rule(
    aten.fake_quantize_per_tensor_affine.default,
    samples=lambda: [sample(torch.randn(2, 6), 0.1, 2, 0, 15)],
    quiet=True,
    in_float64=_per_tensor,
)
@rule(
    aten.fake_quantize_per_tensor_affine.tensor_qparams,
    samples=lambda: [
        sample(torch.randn(2, 6), torch.tensor([0.1]), torch.tensor([2], dtype=torch.int32), 0, 15)
    ],
    quiet=True,
    in_float64=_per_tensor,
)
@rule(
    aten._fake_quantize_learnable_per_tensor_affine.default,
    samples=lambda: [
        sample(torch.randn(2, 6), torch.tensor([0.1]), torch.tensor([2.0]), 0, 15, 0.5)
    ],
    quiet=True,
    in_float64=_per_tensor,
)
def fake_quantize(call: Call) -> Layout:
    """Round to multiples of one scale."""
    return call.layout("self")


@rule(
    aten.fake_quantize_per_channel_affine.default,
    samples=lambda: [
        sample(torch.randn(6, 3), torch.rand(6) + 0.1, _zero_points(), 0, 0, 15),
        sample(torch.randn(2, 6, 3), torch.rand(6) + 0.1, _zero_points(), 1, 0, 15),
    ],
    quiet=True,
    in_float64=_per_channel,
)
@rule(
    aten._fake_quantize_learnable_per_channel_affine.default,
    samples=lambda: [
        sample(torch.randn(6, 3), torch.rand(6) + 0.1, torch.arange(6.0), 0, 0, 15, 0.5),
    ],
    quiet=True,
    in_float64=_per_channel,
)
def fake_quantize_channels(call: Call) -> Layout:
    """Round to multiples of one scale for each channel, which is cut with its channel."""
    return _with_channels(call)


def _with_channels(call: Call) -> Layout:
    layout = call.layout("self")
    axis = layout[call.dim(call["axis"], len(layout))]
    for name in ("scale", "zero_point"):
        call.tie(axis, call.layout(name)[0])
    return layout


def _zero_points(channels: int = 6) -> Tensor:
    return torch.arange(channels, dtype=torch.int32)


def _fused(*, observer_on: int = 0, per_channel: bool = True) -> Sample:
    channels = 6 if per_channel else 1
    return sample(
        torch.randn(6, 3),
        torch.tensor([observer_on]),
        torch.tensor([1]),
        torch.full((channels,), -1.0),
        torch.full((channels,), 1.0),
        torch.rand(channels) + 0.1,
        _zero_points(channels),
        0.01,
        0,
        15,
        0,
        per_channel,
        free=not observer_on,
    )


@rule(
    aten.fused_moving_avg_obs_fake_quant.default,
    samples=lambda: [_fused(), _fused(per_channel=False), _fused(observer_on=1)],
    quiet=True,
    in_float64=_observed,
)
def observe_and_fake_quantize(call: Call) -> Layout:
    """Round as the others do; while it observes too, which depends on all channels, they stay whole."""
    return _unless_observing(call)


def _unless_observing(call: Call) -> Layout:
    layout = call.layout("self")
    observes, ranges = call.constant("observer_on"), ("running_min", "running_max")
    per_channel = [call.layout(name) for name in (*ranges, "scale", "zero_point")]
    if observes is None or observes.any():
        call.facts.because = _OBSERVES
        call.freeze(*layout, *(axis for each in per_channel for axis in each))
    elif call["per_row_fake_quant"]:
        axis = layout[call.dim(call["ch_axis"], len(layout))]
        for each in per_channel:
            if len(each[0]) == len(axis):
                call.tie(axis, each[0])
            else:
                call.freeze(axis, *each)
    return layout


@rule(
    aten.fake_quantize_per_tensor_affine_cachemask.default,
    samples=lambda: [sample(torch.randn(2, 6), 0.1, 2, 0, 15)],
    in_float64=_with_mask(_per_tensor),
)
@rule(
    aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default,
    samples=lambda: [
        sample(
            torch.randn(2, 6),
            torch.tensor([0.1]),
            torch.tensor([2], dtype=torch.int32),
            torch.tensor([1]),
            0,
            15,
        )
    ],
    in_float64=_with_mask(_if_enabled),
)
def fake_quantize_with_mask(call: Call) -> Result:
    """Round to multiples of one scale, and say which values lie within bounds."""
    return [call.layout("self")] * 2


@rule(
    aten.fake_quantize_per_channel_affine_cachemask.default,
    samples=lambda: [
        sample(torch.randn(6, 3), torch.rand(6) + 0.1, _zero_points(), 0, 0, 15),
    ],
    in_float64=_with_mask(_per_channel),
)
def fake_quantize_channels_with_mask(call: Call) -> Result:
    """Round to multiples of one scale for each channel, and say which values lie within bounds."""
    return [_with_channels(call)] * 2


@rule(
    aten._fused_moving_avg_obs_fq_helper.default,
    samples=lambda: [_fused(), _fused(per_channel=False), _fused(observer_on=1)],
    in_float64=_with_mask(_observed),
)
def observe_and_fake_quantize_with_mask(call: Call) -> Result:
    """Round as the others do, and say which values lie within bounds."""
    return [_unless_observing(call)] * 2


state_traits(
    aten._fused_moving_avg_obs_fq_helper.default,
    aten.fake_quantize_per_channel_affine_cachemask.default,
    aten.fake_quantize_per_channel_affine.default,
    aten.fused_moving_avg_obs_fake_quant.default,
    integers=("zero_point",),
)
