"""What of a graph changes when its tensors shrink: sizes, groups, factors, indices."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import fx, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.ir.nodes import bind
from graphprune.ir.trace import trace
from tests import nets
from tests.harness import untouched

aten = torch.ops.aten


def analysed(net: nets.Net) -> Analysis:
    torch.manual_seed(0)
    return analyse(trace(net, net.inputs(), net.keywords()))


def half(analysis: Analysis, skip: Iterable[str] = ()) -> Cut:
    return Cut.keeping(
        analysis, {g.id: range(g.width // 2) for g in analysis.groups if g.id not in skip}
    )


def calls(module: fx.GraphModule, operator: object) -> list[fx.Node]:
    return module.graph.find_nodes(op="call_function", target=operator)


@pytest.mark.parametrize("name", ["HardCodedView", "GroupedConv", "WeightStandardised"])
def test_the_dense_graph_stays_as_it_is(name: str) -> None:
    analysis = analysed((nets.NETS | nets.HELD)[name]())
    with untouched(analysis.module):
        assert half(analysis).module is not analysis.module


def test_sizes_that_the_code_states_follow_their_channels() -> None:
    net = nets.HardCodedView()
    analysis = analysed(net)
    cut = half(analysis)
    for operator in (aten.view.default, aten.reshape.default):
        for old in calls(analysis.module, operator):
            new = cut.copies[old]
            before, after = bind(old), bind(new)
            sizes = next(n for n in before if n in ("size", "shape"))
            assert before[sizes] != after[sizes]


def test_a_grouped_convolution_keeps_its_groups_or_the_width_of_each() -> None:
    analysis = analysed(nets.GroupedConv())
    (old,) = (c for c in calls(analysis.module, aten.conv2d.default) if bind(c)["groups"] > 1)
    cut = half(analysis)
    new = bind(cut.copies[old])
    weight = cut.module.get_parameter(str(new["weight"].target))
    source = cut.module.get_parameter("a.weight")
    assert weight.shape[1] * new["groups"] == len(source)
    assert weight.shape[0] % new["groups"] == 0


def test_nothing_is_rewritten_where_everything_is_kept() -> None:
    analysis = analysed(nets.HardCodedView())
    cut = Cut.keeping(analysis, {g.id: range(g.width) for g in analysis.groups})
    for old, new in cut.copies.items():
        assert (new.op, str(new.target), str(new.args), str(new.kwargs)) == (
            old.op,
            str(old.target),
            str(old.args),
            str(old.kwargs),
        )


def test_a_mean_of_squares_over_fewer_channels_gets_a_factor() -> None:
    """So that it stays the sum of the squares that are left over as many channels as before."""
    analysis = analysed(nets.RmsNormed())
    before, after = (
        len(calls(m, aten.mul.Tensor)) for m in (analysis.module, half(analysis).module)
    )
    assert after > before


def test_every_node_that_is_left_has_its_copy() -> None:
    analysis = analysed(nets.WeightStandardised())
    cut = half(analysis, skip=("b",))
    assert cut.baked
    nodes = set(cut.module.graph.nodes)
    assert set(cut.copies.values()) <= nodes
    for old, name in cut.baked.items():
        assert (cut.copies[old].op, cut.copies[old].target) == ("get_attr", name)
    left = set(analysis.module.graph.nodes) - set(cut.copies)
    assert left
    assert all(old in analysis.constant_calls or old.op == "get_attr" for old in left)


def test_a_graph_made_again_is_another_one() -> None:
    analysis = analysed(nets.GroupedConv())
    cut = half(analysis)
    module, _ = cut.graph()
    assert module is not cut.module
    with torch.no_grad():
        for parameter in module.parameters():
            assert isinstance(parameter, nn.Parameter)
    assert [n.name for n in module.graph.nodes] == [n.name for n in cut.module.graph.nodes]
