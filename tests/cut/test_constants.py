"""Constants that removed branches leave behind."""

from __future__ import annotations

import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.constants import constant_names, constant_sources, end_layer
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from tests import nets
from tests.analysis.test_removable import Bottlenecks


def without_first(net: nn.Module) -> Cut:
    analysis = analyse(trace(net.eval(), (torch.randn(2, 3, 8, 8),)))
    branch = analysis.removable.branches[0]
    return Cut.keeping(analysis, {analysis.groups[n].id: () for n in branch.groups})


def test_it_is_what_a_batchnorm_makes_of_the_bias() -> None:
    net = Bottlenecks()
    norm = net.last_norm(0)
    torch.nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    torch.nn.init.normal_(norm.bias)
    cut = without_first(net)
    (value,) = cut.constant_values().values()
    expected = norm.eval()(torch.zeros(1, 8, 1, 1)).flatten()
    assert value.shape == (1, 8, 1, 1)
    torch.testing.assert_close(value.flatten(), expected)
    assert isinstance(value, nn.Parameter)


def test_it_can_be_trained_only_where_what_it_came_from_could() -> None:
    net = Bottlenecks().requires_grad_(False)
    (value,) = without_first(net).constant_values().values()
    assert not value.requires_grad


def test_it_is_named_after_the_layer_and_loses_removed_channels() -> None:
    cut = without_first(Bottlenecks())
    assert list(constant_names(cut.analysis, cut.left).values()) == ["blocks.0.6.constant"]
    (node,) = cut.constants
    assert end_layer(node, cut.left).name == "conv2d_3"
    assert "blocks.0.7.running_mean" in constant_sources(cut.analysis, cut.left, [node])
    keep = {"stem": [0, 2, 5], **{cut.analysis.groups[n].id: () for n in cut.left.gone}}
    (value,) = Cut.keeping(cut.analysis, keep).constant_values().values()
    assert value.shape == (1, 3, 1, 1)


def test_a_gate_without_inputs_is_one_number_for_each_channel() -> None:
    cut = without_first(nets.SqueezeExcite())
    assert [value.shape[1] for value in cut.constant_values().values()] == [32]
