"""Costs counted from the facts of a graph, in whole or in part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


class Products(nn.Module):
    """A matrix product in each of its forms, with vectors."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return x @ y, torch.mv(x, y), torch.dot(y, y), torch.einsum("ij,j->i", x, y)


def test_a_product_costs_the_same_by_whichever_operator() -> None:
    program = trace(Products(), (torch.randn(4, 6), torch.randn(6)), dynamic_batch=False)
    a = analyse(program)
    assert [a.macs_of(node).at(a.widths) for node in a.facts] == [24.0, 24.0, 6.0, 24.0]
