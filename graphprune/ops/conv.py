"""Convolutions: the input side is contracted, the output side is the weight's own axis.

A convolution with ``g`` groups is a reshape of both sides to ``[g, channels]``: the outer
axes are tied, the inner input axis is contracted. Depthwise is the case of one channel each.
"""

from __future__ import annotations

import math

import torch
from torch import fx

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout
from graphprune.axes.split import split
from graphprune.axes.unify import merge

from .call import Call
from .registry import Sample, rule, sample, state_traits
from .traits import Form

__all__: list[str] = []

aten = torch.ops.aten


def _samples(spatial: int) -> list[Sample]:
    size, kernel = (5,) * spatial, (3,) * spatial
    return [
        sample(torch.randn(2, 6, *size), torch.randn(8, 6, *kernel), torch.randn(8)),
        sample(torch.randn(2, 6, *size), torch.randn(8, 6, *kernel), None, [2] * spatial),
        sample(torch.randn(2, 8, *size), torch.randn(12, 4, *kernel), torch.randn(12), groups=2),
        sample(torch.randn(2, 6, *size), torch.randn(6, 1, *kernel), torch.randn(6), groups=6),
        sample(torch.randn(2, 6, *size), torch.randn(12, 1, *kernel), None, groups=6),
        sample(torch.randn(6, *size), torch.randn(8, 6, *kernel)),
        sample(torch.randn(2, 6, *size), torch.randn(1, 6, *kernel)),
    ]


def _samples_padded(spatial: int) -> list[Sample]:
    size, kernel = (5,) * spatial, (3,) * spatial
    x, weight = torch.randn(2, 6, *size), torch.randn(8, 6, *kernel)
    return [sample(x, weight, padding="same"), sample(x, weight, torch.randn(8), padding="valid")]


def _samples_transposed(spatial: int) -> list[Sample]:
    size, kernel = (4,) * spatial, (3,) * spatial
    return [
        sample(torch.randn(2, 6, *size), torch.randn(6, 8, *kernel), torch.randn(8)),
        sample(torch.randn(2, 8, *size), torch.randn(8, 6, *kernel), torch.randn(12), groups=2),
        sample(torch.randn(2, 6, *size), torch.randn(6, 1, *kernel), torch.randn(6), groups=6),
    ]


def _spatial(call: Call) -> int:
    return call.rank("weight") - 2


@rule(aten.conv1d.default, samples=lambda: _samples(1))
@rule(aten.conv2d.default, samples=lambda: _samples(2))
@rule(aten.conv3d.default, samples=lambda: _samples(3))
@rule(aten.conv1d.padding, samples=lambda: _samples_padded(1))
@rule(aten.conv2d.padding, samples=lambda: _samples_padded(2))
@rule(aten.conv3d.padding, samples=lambda: _samples_padded(3))
def convolution(call: Call) -> Layout:
    """Convolution ``y[o] = sum over i of w[o, i] * x[i]`` in each group; weight ``[O, I/g, *kernel]``."""
    weight, groups = call.layout("weight"), call.size("groups")
    channels, out = _input_channels(call), weight[0]
    if groups > 1:
        outer, inner = split(call.labels, channels, [groups, len(channels) // groups], call.link)
        mine, _ = split(call.labels, out, [groups, len(out) // groups], call.link)
        call.tie(outer, mine)
        call.tie(inner, weight[1])
        _rewrite_groups(call, outer)
    else:
        call.tie(channels, weight[1])
    call.contract("weight", 1, weight[1])
    _bias(call, out)
    _count(call, call.out_shape[len(call.out_shape) - _spatial(call) :])
    return _result(call, out)


@rule(aten.conv_transpose1d.default, samples=lambda: _samples_transposed(1))
@rule(aten.conv_transpose2d.input, samples=lambda: _samples_transposed(2))
@rule(aten.conv_transpose3d.input, samples=lambda: _samples_transposed(3))
def transposed_convolution(call: Call) -> Layout:
    """Transposed convolution; weight ``[I, O/g, *kernel]``, outputs of group k from inputs of group k."""
    weight, groups = call.layout("weight"), call.size("groups")
    channels = _input_channels(call)
    call.tie(channels, weight[0])
    summed, out = weight[0], weight[1]
    if groups > 1:
        outer, inner = split(call.labels, weight[0], [groups, len(weight[0]) // groups], call.link)
        summed, out = merge([unlabelled(groups), inner]), merge([outer, weight[1]])
        _rewrite_groups(call, outer)
    call.contract("weight", 0, summed)
    _bias(call, out)
    shape = [len(axis) for axis in call.layout("input")]
    _count(call, tuple(shape[len(shape) - _spatial(call) :]))
    return _result(call, out)


def _input_channels(call: Call) -> Axis:
    """Return the input's channel axis; spatial axes of the input and the kernel are frozen."""
    layout, spatial = call.layout("input"), _spatial(call)
    call.freeze(*layout[len(layout) - spatial :], *call.layout("weight")[2:])
    return layout[len(layout) - spatial - 1]


def _rewrite_groups(call: Call, outer: Axis) -> None:
    if not isinstance(call["groups"], fx.Node):
        call.rewrite("groups", lambda kept: int(kept(outer).sum()))


def _bias(call: Call, out: Axis) -> None:
    if call["bias"] is not None:
        call.tie(call.layout("bias")[0], out)


def _count(call: Call, positions: tuple[int, ...]) -> None:
    weight = call.layout("weight")
    batch = call.layout("input")[0] if call.rank("input") == _spatial(call) + 2 else unlabelled(1)
    kernel = math.prod(len(axis) for axis in weight[2:])
    call.macs(math.prod(positions) * kernel, batch, weight[0], weight[1])


def _result(call: Call, out: Axis) -> Layout:
    spatial = _spatial(call)
    leading = call.layout("input")[: call.rank("input") - spatial - 1]
    is_quiet = call.quiet("weight") and call.quiet("bias")
    call.loud(*leading, *([] if is_quiet else [out]))
    return (
        *leading,
        out,
        *(unlabelled(n) for n in call.out_shape[len(call.out_shape) - spatial :]),
    )


state_traits(
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
    form=Form("convolution", channel=1),
)
state_traits(
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
    form=Form("convolution", transposed=True, channel=1),
)
