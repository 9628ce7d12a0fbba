"""Costs counted from the facts of a graph, in whole or in part."""

from __future__ import annotations

import torch

from graphprune.analysis.analyse import analyse
from graphprune.analysis.count_costs import count_costs, macs
from graphprune.axes.polynomial import Polynomial
from graphprune.ir.trace import trace
from tests.analysis.test_removable import DepthwiseFirst


def test_calls_and_tensors_count_by_their_shares() -> None:
    a = analyse(trace(DepthwiseFirst().eval(), (torch.randn(2, 3, 8, 8),)))
    args = (a.module, a.facts, a.tensors, a.axes, a.labels, a.grouping)
    half = Polynomial.constant(0.5)
    found = count_costs(*args, calls=lambda _: half, stored=lambda name: half)
    assert found.macs.at(a.widths) == a.dense_macs / 2
    assert found.params.at(a.widths) == a.costs.params.at(a.widths) / 2


def test_the_calls_of_a_graph_add_up() -> None:
    a = analyse(trace(DepthwiseFirst().eval(), (torch.randn(2, 3, 8, 8),)))
    parts = [
        macs(facts, a.labels, a.grouping, a.costs.batch).at(a.widths) for facts in a.facts.values()
    ]
    assert sum(parts) == a.dense_macs
