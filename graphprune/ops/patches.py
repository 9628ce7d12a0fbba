"""Windows and patches of images, and shuffles of pixels and channels."""

from __future__ import annotations

import math

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout
from graphprune.axes.split import split
from graphprune.axes.unify import merge

from .call import Call
from .registry import rule, sample

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten.unfold.default,
    samples=lambda: [sample(torch.randn(2, 6, 7), 2, 3, 2)],
)
def windows(call: Call) -> Layout:
    """Extract windows along one dimension, which stays whole; their elements become a new last dimension."""
    layout = call.layout("self")
    dim = call.dim(call["dimension"], len(layout))
    call.freeze(layout[dim])
    return (
        *layout[:dim],
        unlabelled(call.out_shape[dim]),
        *layout[dim + 1 :],
        unlabelled(call.out_shape[-1]),
    )


@rule(
    aten.im2col.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 4, 4), [2, 3], [1, 1], [0, 0], [1, 1]),
    ],
)
def patches(call: Call) -> Layout:
    """Extract patches (im2col), ``[B, C, H, W] -> [B, C*kh*kw, positions]``: ``kh*kw`` rows a channel."""
    layout = call.layout("self")
    call.freeze(*layout[-2:])
    channels = merge([layout[-3], unlabelled(math.prod(call["kernel_size"]))])
    return (*layout[:-3], channels, unlabelled(call.out_shape[-1]))


@rule(
    aten.col2im.default,
    samples=lambda: [
        sample(torch.randn(2, 24, 4), [4, 4], [2, 2], [1, 1], [0, 0], [2, 2]),
    ],
)
def unpatched(call: Call) -> Layout:
    """Sum patches up (col2im), ``[B, C*kh*kw, positions] -> [B, C, H, W]``: ``kh*kw`` rows go together."""
    layout, kernel = call.layout("self"), math.prod(call["kernel_size"])
    rows = layout[-2]
    outer, inner = split(call.labels, rows, [len(rows) // kernel, kernel], call.link)
    call.freeze(inner, layout[-1])
    return (*layout[:-2], outer, *(unlabelled(n) for n in call.out_shape[-2:]))


@rule(
    aten.pixel_shuffle.default,
    samples=lambda: [sample(torch.randn(2, 12, 3, 3), 2)],
    quiet=True,
)
def pixel_shuffle(call: Call) -> Layout:
    """Shuffle pixels, ``[C*r*r, H, W] -> [C, H*r, W*r]``: r*r consecutive channels are removed together."""
    layout, r = call.layout("self"), int(call["upscale_factor"])
    channels = layout[-3]
    outer, inner = split(call.labels, channels, [len(channels) // (r * r), r * r], call.link)
    call.freeze(inner, *layout[-2:])
    return (*layout[:-3], outer, *(unlabelled(n) for n in call.out_shape[-2:]))


@rule(
    aten.pixel_unshuffle.default,
    samples=lambda: [sample(torch.randn(2, 6, 4, 4), 2)],
    quiet=True,
)
def pixel_unshuffle(call: Call) -> Layout:
    """Undo a pixel shuffle, ``[C, H*r, W*r] -> [C*r*r, H, W]``: each channel becomes r*r in succession."""
    layout, r = call.layout("self"), int(call["downscale_factor"])
    call.freeze(*layout[-2:])
    channels = merge([layout[-3], unlabelled(r * r)])
    return (*layout[:-3], channels, *(unlabelled(n) for n in call.out_shape[-2:]))


@rule(
    aten.channel_shuffle.default,
    samples=lambda: [sample(torch.randn(2, 12, 3), 3)],
    quiet=True,
)
def channel_shuffle(call: Call) -> Layout:
    """Shuffle channels: transpose axis 1, seen as ``[g, C/g]``, to ``[C/g, g]``."""
    layout, groups = call.layout("self"), int(call["groups"])
    outer, inner = split(call.labels, layout[1], [groups, len(layout[1]) // groups], call.link)
    call.rewrite("groups", lambda kept: int(kept(outer).sum()))
    return (layout[0], merge([inner, outer]), *layout[2:])
