"""Cuts that take whole branches out: they equal the masked original, at any batch size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from graphprune.analysis.analyse import analyse
from graphprune.analysis.branch_costs import costs_left
from graphprune.cut.cut import Cut
from graphprune.errors import PlanError
from graphprune.ir.program import state, unlift
from graphprune.ir.trace import trace
from graphprune.ops.float64 import Float64Interpreter
from graphprune.verify.graph_runs import error, run
from graphprune.verify.masked import MaskedInterpreter
from graphprune.verify.oracle import verify
from tests import nets
from tests.analysis.test_removable import Bottlenecks, DepthwiseFirst
from tests.verify.test_random_nets import Builder

SMALL = ("OptionAShortcut", "SqueezeExcite", "WriteIntoSlice", "HeadsAndGroups", "LanguageModel",
         "LowRank", "ConcatWithInput", "VisionTransformer")  # fmt: skip


def cuts(net: nn.Module, *inputs: Tensor) -> list[Cut]:
    """One cut for each branch, and one without any: the other groups keep half of their channels."""
    analysis = analyse(trace(net.eval(), inputs))
    half = {g.id: range((g.width + 1) // 2) for g in analysis.groups}
    sets = [branch.groups for branch in analysis.removable.branches]
    together = analysis.without(frozenset().union(*sets), idle=True).gone
    return [
        Cut.keeping(analysis, half | {analysis.groups[n].id: () for n in gone})
        for gone in dict.fromkeys([*sets, together])
    ]


@pytest.mark.parametrize("name", SMALL)
def test_without_any_of_its_branches_a_net_equals_the_masked_original(name: str) -> None:
    torch.manual_seed(0)
    net = nets.NETS.get(name) or nets.HELD[name]
    for cut in cuts(net(), *net().inputs())[-1:]:
        assert len(verify(cut).batches) == 2


@pytest.mark.parametrize("net", [Bottlenecks, DepthwiseFirst])
def test_operations_and_parameters_are_counted_exactly(net: type[nn.Module]) -> None:
    for cut in cuts(net(), torch.randn(2, 3, 8, 8)):
        verify(cut)
        widths = [len(cut.channels(group)) for group in cut.analysis.groups]
        costs = costs_left(cut.analysis, cut.left)
        with FlopCounterMode(display=False) as counter:
            run(fx.Interpreter(unlift(cut.program)), [torch.randn(2, 3, 8, 8)])
        assert costs.macs.at(widths) == counter.get_total_flops() / 4
        small = state(unlift(cut.program)).values()
        assert costs.params.at(widths) == sum(
            p.numel() for p in small if isinstance(p, nn.Parameter)
        )
        assert cut.analysis.branch_costs.macs.at(widths) == costs.macs.at(widths)
        assert cut.analysis.branch_costs.params.at(widths) == costs.params.at(widths)


def test_the_graph_without_a_branch_has_none_of_its_calls_and_tensors() -> None:
    cut = cuts(Bottlenecks(), torch.randn(2, 3, 8, 8))[0]
    names = set(state(unlift(cut.program)))
    assert {name for name in names if name.startswith("blocks.0")} == {"blocks.0.6.constant"}
    assert (
        len(cut.module.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default))
        == 4
    )


def test_groups_that_cant_go_whole_are_refused_with_the_reason() -> None:
    analysis = analyse(trace(Bottlenecks().eval(), (torch.randn(2, 3, 8, 8),)))
    with pytest.raises(PlanError, match="stem can't go: output 0 would no longer depend"):
        Cut.keeping(analysis, {"stem": ()})


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.data())
def test_random_graphs_without_branches(data: st.DataObject) -> None:
    builder = Builder(data.draw)
    steps = (builder.conv, builder.batch_norm, builder.activation, builder.scale, builder.cat)
    x = builder.values[0]
    for _ in range(data.draw(st.integers(1, 2))):
        y = builder.conv(x)
        for _ in range(data.draw(st.integers(0, 3))):
            y = data.draw(st.sampled_from(steps))(y)
            builder.values.append(y)
        out, inner = builder.shape(x)[1], builder.shape(y)[1]
        y = builder.call(
            torch.ops.aten.conv2d.default,
            y,
            builder.parameter(out, inner, 1, 1),
            builder.parameter(out),
        )
        x = builder.call(torch.ops.aten.add.Tensor, *data.draw(st.permutations([x, y])))
        builder.values.append(x)
    end = builder.parameter(3, builder.shape(x)[1], 1, 1)
    builder.graph.output((builder.call(torch.ops.aten.conv2d.default, x, end),))
    module = fx.GraphModule(builder.root, builder.graph)
    analysis = analyse(module)
    found = [branch.groups for branch in analysis.removable.branches]
    assert found
    for chosen in itertools.chain(([each] for each in found), [found]):
        gone = analysis.without(frozenset().union(*chosen), idle=True).gone
        cut = Cut.keeping(analysis, {analysis.groups[n].id: () for n in gone})
        inputs = [builder.input.meta["val"]]
        expected = run(MaskedInterpreter(cut), inputs)
        assert error(run(Float64Interpreter(cut.module), inputs), expected) < 1e-9
        widths = np.where(np.isin(np.arange(len(analysis.groups)), list(gone)), 0, analysis.widths)
        assert costs_left(analysis, cut.left).macs.at(widths) < analysis.dense_macs
