"""Normalisations. Per-channel ones tie; those with statistics over channels mix, hence hold."""

from __future__ import annotations

import torch

from graphprune.labels import Axis
from graphprune.layout import Layout
from graphprune.ops.registry import Call, rule, sample
from graphprune.splitting import split

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten.batch_norm.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 3, 3), torch.rand(6), torch.randn(6), torch.randn(6),
               torch.rand(6) + 0.5, False, 0.1, 1e-5, False),
        sample(torch.randn(4, 6), None, None, torch.randn(6), torch.rand(6) + 0.5, False, 0.1,
               1e-5, False),
    ],
)
@rule(
    aten.instance_norm.default,
    samples=lambda: [
        sample(torch.randn(2, 6, 3, 3), torch.rand(6), torch.randn(6), None, None, True, 0.1,
               1e-5, False),
        sample(torch.randn(2, 6, 3), None, None, torch.randn(6), torch.rand(6) + 0.5, False,
               0.1, 1e-5, False),
    ],
)
def per_channel_norm(call: Call) -> Layout:
    """Every channel (axis 1) has its own statistics and its own affine map."""
    layout = call.layout("input")
    if call.get("training") or call.get("use_input_stats"):
        call.mix(layout[0], *layout[2:])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call[name] is not None:
            call.tie(layout[1], call.layout(name)[0])
    return layout


@rule(
    aten.group_norm.default,
    samples=lambda: [
        sample(torch.randn(2, 12, 3, 3), 4, torch.rand(12), torch.randn(12)),
        sample(torch.randn(2, 6, 3), 6),
    ],
)
def group_norm(call: Call) -> Layout:
    """Statistics over each of ``num_groups`` runs of channels: whole runs may go, not parts."""
    layout, groups = call.layout("input"), int(call["num_groups"])
    channels = layout[1]
    outer, inner = split(call.labels, channels, [groups, len(channels) // groups], call.link)
    call.mix(inner, *layout[2:])
    for name in ("weight", "bias"):
        if call[name] is not None:
            call.tie(channels, call.layout(name)[0])
    call.rewrite("num_groups", lambda kept: int(kept(outer).sum()))
    return layout


@rule(
    aten.layer_norm.default,
    samples=lambda: [sample(torch.randn(2, 5, 6), [6], torch.rand(6), torch.randn(6))],
)
@rule(
    aten.rms_norm.default,
    samples=lambda: [sample(torch.randn(2, 5, 6), [6], torch.rand(6))],
)
def layer_norm(call: Call) -> Layout:
    """Statistics over the last dimensions, which therefore stay whole."""
    layout = call.layout("input")
    normalised = layout[len(layout) - len(call["normalized_shape"]) :]
    call.mix(*normalised)
    for name in ("weight", "bias"):
        if call.get(name) is not None:
            _tie_all(call, normalised, call.layout(name))
    return layout


def _tie_all(call: Call, left: tuple[Axis, ...], right: tuple[Axis, ...]) -> None:
    for a, b in zip(left, right, strict=True):
        call.tie(a, b)
