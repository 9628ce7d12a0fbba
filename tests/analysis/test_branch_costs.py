"""Costs of graphs from which branches may go whole."""

from __future__ import annotations

import torch

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.branch_costs import costs_left
from graphprune.ir.trace import trace
from tests.analysis.test_removable import Bottlenecks, DepthwiseFirst


def analysed(net: torch.nn.Module) -> Analysis:
    return analyse(trace(net.eval(), (torch.randn(2, 3, 8, 8),)))


def test_at_positive_widths_they_are_the_plain_ones() -> None:
    found = analysed(Bottlenecks())
    for widths in (found.widths, [5, 3, 2, 1, 4]):
        for name in ("macs", "params", "weight_bytes", "activation_bytes"):
            plain, own = getattr(found.costs, name), getattr(found.branch_costs, name)
            assert own.at(widths) == plain.at(widths)


def test_width_0_of_the_lead_takes_all_calls_of_the_branch_along() -> None:
    found = analysed(Bottlenecks())
    lead = found.removable.branches[0].lead
    widths = [0 if n == lead else w for n, w in enumerate(found.widths)]
    left = found.without(found.removable.branches[0].groups)
    gone = [0 if n in left.gone else w for n, w in enumerate(found.widths)]
    assert found.branch_costs.macs.at(widths) == costs_left(found, left).macs.at(gone)
    assert found.branch_costs.params.at(widths) == costs_left(found, left).params.at(gone)


def test_calls_without_channels_of_the_branch_go_too() -> None:
    found = analysed(DepthwiseFirst())
    (branch,) = found.removable.branches
    widths = [0 if n in branch.groups else w for n, w in enumerate(found.widths)]
    stem, head = 3 * 8 * 9 * 64, 8 * 5
    assert found.branch_costs.macs.at(widths) == stem + head
    assert found.costs.macs.at(widths) == stem + head + 8 * 9 * 64
    assert found.branch_costs.params.at(widths) == 3 * 8 * 9 + 8 + 8 * 5 + 5 + 8
