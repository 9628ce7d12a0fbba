"""Axes that stay whole because a node of an ONNX file has no form for fewer rows."""

from __future__ import annotations

import torch

from graphprune.axes.layout import Layout
from graphprune.ir.keep_axes import KEEP_AXES

from .call import Call
from .registry import rule, sample, state_traits

__all__: list[str] = []


@rule(
    KEEP_AXES,
    samples=lambda: [
        sample(torch.randn(4, 6, 3), [1], "Blocks node 'b'", "has blocks of this size"),
        sample(torch.randn(2, 6), [0, 1], "Heads node 'h'", "has such heads", free=False),
    ],
    quiet=True,
)
def keep_axes(call: Call) -> Layout:
    """Keep all rows of some axes, those of stored tensors too: baking would change what the node holds."""
    layout = call.layout("x")
    call.facts.because = str(call["why"])
    for axis in call["axes"]:
        call.labels.freeze(layout[axis], call.link)
    return layout


state_traits(KEEP_AXES, identity=True)
