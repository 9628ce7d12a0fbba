"""Cutting the test nets: exact against the masked original, and as small as predicted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.frozen import frozen
from graphprune.cut.cut import Cut
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ops.float64 import Float64Interpreter
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import random_inputs
from graphprune.verify.oracle import TOLERANCE, verify
from tests.nets import HELD, NETS

KEEP = 0.6

INEXACT = {"GroupNormed", "LayerNormByHand", "LayerNormed", "TextEncoder", "VisionTransformer"}
"""Nets with statistics in which channels whose parameters are zero take part."""

EXACT_STATISTICS = [
    "CosineAttention",
    "GlobalResponseNorm",
    "HandWrittenNorm",
    "LanguageModel",
    "RmsNormed",
]
"""Nets with statistics in which channels whose parameters are zero take no part."""


def random_keep(analysis: Analysis, seed: int) -> dict[str, list[int]]:
    """Keep a random 60 % of every group."""
    generator = np.random.default_rng(seed)
    return {
        g.id: sorted(generator.permutation(g.width)[: max(1, int(g.width * KEEP))].tolist())
        for g in analysis.groups
    }


def counted_macs(program: torch.export.ExportedProgram, batch: int) -> float:
    args, kwargs = program.example_inputs
    with FlopCounterMode(display=False) as counter:
        program.module()(*args, **kwargs)
    return counter.get_total_flops() / 2 / batch


def is_counted(analysis: Analysis) -> bool:
    """Whether torch counts all operators: not recurrent ones, nor attention on every kernel."""
    uncounted = ("lstm", "gru", "attention")
    return not any(name in str(node.target) for node in analysis.facts for name in uncounted)


@pytest.mark.parametrize("name", [*NETS, *HELD])
def test_the_cut_net_equals_the_masked_original(name: str) -> None:
    torch.manual_seed(0)
    net = (NETS | HELD)[name]()
    program = trace(net, net.inputs(), net.keywords())
    analysis = analyse(program)
    for seed in range(2):
        keep = random_keep(analysis, seed)
        cut = Cut.keeping(analysis, keep)
        small = cut.program
        verify(cut)
        widths = [len(keep[g.id]) for g in analysis.groups]
        macs, params = analysis.costs.macs.at(widths), analysis.costs.params.at(widths)
        distinct = {id(p): p.numel() for p in small.parameters()}
        if cut.baked:  # what computed the weights is gone
            assert macs >= counted_macs(small, analysis.costs.batch)
            assert params >= sum(distinct.values())
            continue
        if is_counted(analysis):
            assert macs == counted_macs(small, analysis.costs.batch)
        assert params == sum(distinct.values())
    if name in NETS:
        assert macs < 0.5 * analysis.dense_macs
    if is_counted(analysis):
        assert analysis.dense_macs == counted_macs(program, analysis.costs.batch)


@pytest.mark.parametrize("name", [*NETS, *HELD])
def test_inexact_links_are_cut_as_the_oracle_says(name: str) -> None:
    torch.manual_seed(0)
    net = (NETS | HELD)[name]()
    program = trace(net, net.inputs(), net.keywords())
    analysis = analyse(program, allow_inexact=True)
    assert bool(analysis.inexact) == (name in INEXACT)
    if not analysis.inexact:
        return
    keep = random_keep(analysis, 0)
    cut = Cut.keeping(analysis, keep)
    verify(cut)
    widths = [len(keep[g.id]) for g in analysis.groups]
    assert analysis.costs.macs.at(widths) < 0.5 * analysis.dense_macs
    held = analyse(program)
    assert sum(analysis.widths) > sum(held.widths) or len(analysis.groups) > len(held.groups)
    if name != "GroupNormed":  # whose runs may go, so that no channel is frozen
        assert any("allow_inexact" in f.reason for f in frozen(held))


@pytest.mark.parametrize("name", EXACT_STATISTICS)
def test_an_exact_cut_equals_the_net_with_the_parameters_of_its_channels_zero(name: str) -> None:
    """An oracle that knows nothing of operators: only which parameter rows belong to a channel."""
    torch.manual_seed(0)
    net = NETS[name]()
    program = trace(net, net.inputs(), net.keywords())
    analysis = analyse(program)
    keep = random_keep(analysis, 0)
    small = Cut.keeping(analysis, keep).program
    with torch.no_grad():
        for group in analysis.groups:
            gone = np.setdiff1d(np.arange(group.width), keep[group.id])
            for where in group.occurrences:
                rows = torch.from_numpy(where.rows[gone].ravel())
                analysis.tensors[where.tensor].index_fill_(where.dim, rows, 0)
    inputs = random_inputs(program, 1, seed=0)
    expected = run(Float64Interpreter(analysis.module), inputs)
    assert error(run(Float64Interpreter(unlift(small)), inputs), expected) <= TOLERANCE
