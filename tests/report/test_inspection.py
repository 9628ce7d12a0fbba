"""What an inspection says of a network, held against the network."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.report.inspection import Inspection, describe, size
from tests import nets
from tests.analysis.test_removable import Bottlenecks


def described(net: nn.Module, *inputs: torch.Tensor, **options: bool) -> Inspection:
    return describe(gp.inspect(net, inputs, **options), "Net")


def test_costs_and_shares_are_those_of_the_layers() -> None:
    net = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 5))
    found = described(net, torch.randn(2, 4))
    assert found.dense.macs == 4 * 10 + 10 * 5
    assert found.flops == 2 * found.dense.macs
    assert found.dense.params == 40 + 10 + 50 + 5
    assert found.dense.weight_bytes == 4 * found.dense.params
    (group,) = found.groups
    assert (group.id, group.width, group.inexact) == ("0", 10, ())
    assert group.axes == ("0.weight:0", "0.bias:0", "2.weight:1")
    assert group.macs_share == found.prunable_macs == 1
    assert found.prunable_params == pytest.approx(100 / 105)  # all but the last bias
    assert {f["reason"]: f["channels"] for f in found.frozen} == {
        "model input input": 4,
        "model output": 5,
    }


def test_the_cost_at_other_widths_is_that_of_the_smaller_network() -> None:
    net, x = nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 5)), torch.randn(2, 4)
    small = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 5))
    assert size(gp.inspect(net, (x,)), [3]) == described(small, x).dense


def test_an_operator_without_a_rule_is_named_with_what_it_locks() -> None:
    net = nets.UnknownOperator()
    found = described(net, *net.inputs())
    (call,) = found.unknown_operators
    assert call["operator"] == "aten.renorm.default"
    assert str(call["where"]).startswith("nets.py:")
    (entry,) = [f for f in found.frozen if f["unknown"]]
    assert call["macs_share"] == entry["macs_share"] > 0


def test_statistics_are_named_where_they_are_cut_through() -> None:
    net = nets.HELD["LayerNormed"]()
    held, opened = (described(net, *net.inputs(), allow_inexact=i) for i in (False, True))
    assert not any(group.inexact for group in held.groups)
    assert {g.id: g.inexact for g in opened.groups}["a"] == ("aten.layer_norm.default",)
    assert len(opened.groups) > len(held.groups)


def test_a_network_without_parameters_has_nothing_to_share() -> None:
    found = described(nn.ReLU(), torch.randn(2, 4))
    assert (found.groups, found.prunable_params, found.prunable_macs) == ((), 0, 0)


def test_the_document_has_every_field() -> None:
    found = described(nn.Linear(4, 10), torch.randn(2, 4))
    document = json.loads(found.to_json())
    assert document.pop("format") == "graphprune.inspect/1"
    assert [*document] == [*Inspection.__dataclass_fields__]


def test_groups_that_can_go_whole_are_named_with_what_goes_along() -> None:
    found = {g.id: g for g in described(Bottlenecks().eval(), torch.randn(2, 3, 8, 8)).groups}
    assert found["blocks.0.0"].goes_with == ("blocks.0.0", "blocks.0.3")
    assert not found["blocks.0.0"].stays
    assert not found["stem"].goes_with
    assert "no longer depend" in found["stem"].stays


class Unknown(nn.Module):
    """Layers around an operator that is part of no forward otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, 6] -> [B, 3]``."""
        h = self.first(x)
        return self.last(torch.ops.aten.threshold_backward(h, h, 0))


def test_unknown_operators_are_named_without_an_address_and_with_what_they_lock() -> None:
    unknown = described(Unknown(), torch.randn(2, 6)).unknown_operators
    assert unknown
    for entry in unknown:
        assert "0x" not in entry["operator"]
        assert "<" not in entry["operator"]
    assert max(entry["macs_share"] for entry in unknown) > 0
