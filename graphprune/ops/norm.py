"""Normalisations: BatchNorm and its like tie channels, the others take statistics over them.

With ``k`` of ``n`` channels left and the others neutral, a mean of squares over all is ``k / n``
times that over the ``k``. So a norm over the ``k`` computes the same as the one over all if its
epsilon is divided by ``k / n`` and its weight by the square root of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from graphprune.axes.labels import Axis
from graphprune.axes.layout import Layout
from graphprune.axes.split import split

from .call import Call
from .facts import resized, share
from .registry import Sample, rule, sample, state_traits
from .traits import Form

__all__ = ["BATCH_NORM"]

aten = torch.ops.aten

BATCH_NORM = aten.batch_norm.default
"""The normalisation that folds into a neighbouring layer."""


def _per_channel(
    *shape: int, stored: bool = True, affine: bool = True, training: bool = False, eps: float = 1e-5
) -> Sample:
    """A call on six channels, with stored statistics and an affine map, or without."""
    statistics = (torch.randn(6), torch.rand(6) + 0.5) if stored else (None, None)
    weights = (torch.rand(6), torch.randn(6)) if affine else (None, None)
    return sample(torch.randn(shape), *weights, *statistics, training, 0.1, eps, False)


@rule(
    aten.batch_norm.default,
    samples=lambda: [_per_channel(2, 6, 3, 3), _per_channel(4, 6, affine=False)],
)
@rule(
    aten.instance_norm.default,
    samples=lambda: [
        _per_channel(2, 6, 3, 3, stored=False, training=True),
        _per_channel(2, 6, 3, affine=False),
        _per_channel(2, 6, 3, eps=0.0),
    ],
)
def per_channel_norm(call: Call) -> Layout:
    """Normalise each channel (axis 1) by statistics of its own, then apply its affine map."""
    layout = call.layout("input")
    if call.get("training") or call.get("use_input_stats"):
        call.mix(layout[0], *layout[2:])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call[name] is not None:
            call.tie(layout[1], call.layout(name)[0])
    _state_loud(call, layout[1:2], (layout[0], *layout[2:]))
    return layout


def _state_loud(call: Call, channels: Sequence[Axis], others: Sequence[Axis]) -> None:
    """State that the rows of channels are zero where their weight and bias are; without an epsilon, 0 / 0 may remain."""
    given = [name for name in ("weight", "bias") if call.get(name) is not None]
    is_quiet = "weight" in given and all(map(call.quiet, given)) and call.get("eps") != 0
    call.loud(*others, *([] if is_quiet else channels))


@rule(
    aten.group_norm.default,
    samples=lambda: [
        sample(torch.randn(2, 12, 3, 3), 4, torch.rand(12), torch.randn(12)),
        sample(torch.randn(2, 6, 3), 6),
    ],
)
def group_norm(call: Call) -> Layout:
    """Normalise each of ``num_groups`` runs of channels; whole runs may be removed exactly."""
    layout, groups = call.layout("input"), int(call["num_groups"])
    channels = layout[1]
    outer, inner = split(call.labels, channels, [groups, len(channels) // groups], call.link)
    call.mix(*layout[2:])
    _compensate(call, (inner,), range(1, len(layout)), runs=groups)
    for name in ("weight", "bias"):
        if call[name] is not None:
            call.tie(channels, call.layout(name)[0])
    call.rewrite("num_groups", lambda kept: int(kept(outer).sum()))
    _state_loud(call, layout[1:2], (layout[0], *layout[2:]))
    return layout


@rule(
    aten.layer_norm.default,
    samples=lambda: [
        sample(torch.randn(2, 5, 6), [6], torch.rand(6), torch.randn(6)),
        sample(torch.randn(2, 5, 6), [5, 6], torch.rand(5, 6)),
        sample(torch.randn(2, 5, 6), [6]),
    ],
)
def layer_norm(call: Call) -> Layout:
    """Normalise by the mean and variance over the last dimensions."""
    return _over_last(call, centred=True)


@rule(
    aten.rms_norm.default,
    samples=lambda: [
        sample(torch.randn(2, 5, 6), [6], torch.rand(6), 1e-5),
        sample(torch.randn(2, 5, 6), [5, 6], None, 1e-5),
    ],
)
def rms_norm(call: Call) -> Layout:
    """Normalise by the mean of squares over the last dimensions."""
    return _over_last(call, centred=False)


def _over_last(call: Call, *, centred: bool) -> Layout:
    layout, sizes = call.layout("input"), list(call["normalized_shape"])
    first = len(layout) - len(sizes)
    normalised = layout[first:]
    _compensate(call, normalised, range(first, len(layout)), centred=centred)
    call.rewrite("normalized_shape", lambda kept: resized(sizes, normalised, kept))
    for name in ("weight", "bias"):
        if call.get(name) is not None:
            _tie_all(call, normalised, call.layout(name))
    _state_loud(call, normalised, layout[:first])
    return layout


def _compensate(
    call: Call, counted: Layout, dims: Iterable[int], *, centred: bool = True, runs: int = 1
) -> None:
    """State that statistics run over ``dims``, and correct them for removed rows of ``counted``."""
    scaled = "weight" if call["weight"] is not None else ""
    if call["eps"] is None or (not scaled and call.get("bias") is not None):
        # an epsilon of unknown value, or a bias after a factor that no weight can take
        call.mix(*counted)
        return
    call.statistic("input", dims, centred=centred, runs=runs, counted=counted)
    call.rewrite("eps", lambda kept: call["eps"] / share(kept, counted))
    call.scale(scaled, lambda kept: share(kept, counted) ** -0.5)


def _tie_all(call: Call, left: tuple[Axis, ...], right: tuple[Axis, ...]) -> None:
    for a, b in zip(left, right, strict=True):
        call.tie(a, b)


state_traits(aten.layer_norm.default, form=Form("norm"))
state_traits(aten.rms_norm.default, form=Form("norm", bias=None))
state_traits(
    aten.batch_norm.default,
    aten.group_norm.default,
    aten.instance_norm.default,
    form=Form("norm", channel=1),
)
