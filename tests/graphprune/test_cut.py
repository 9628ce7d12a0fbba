"""Cutting the test nets: exact against the masked original, and as small as predicted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from graphprune.analysis import Analysis, analyse
from graphprune.cut import cut_module
from graphprune.graph import relift
from graphprune.tracing import trace
from graphprune.verify import verify
from tests.nets import HELD, NETS

KEEP = 0.6


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
    program = trace(net, net.inputs())
    analysis = analyse(program)
    for seed in range(2):
        keep = random_keep(analysis, seed)
        kept = analysis.kept(keep)
        small = relift(cut_module(analysis, kept), program)
        verify(program, analysis, kept, small)
        widths = [len(keep[g.id]) for g in analysis.groups]
        if is_counted(analysis):
            assert analysis.costs.macs.at(widths) == counted_macs(small, analysis.costs.batch)
        distinct = {id(p): p.numel() for p in small.parameters()}
        assert analysis.costs.params.at(widths) == sum(distinct.values())
    if name in NETS:
        assert analysis.costs.macs.at(widths) < 0.5 * analysis.dense_macs
    if is_counted(analysis):
        assert analysis.dense_macs == counted_macs(program, analysis.costs.batch)
