"""Plans of a model that may have shrunk."""

from __future__ import annotations

import pytest
import torch

from graphprune.plan.budget import Budget
from graphprune.training.in_place import shrink_in_place
from graphprune.training.planner import Planner
from graphprune.training.planning import Planning
from graphprune.workflow.options import Options

from .loop import data, net


def test_budgets_count_from_the_first_network_after_its_layers_have_shrunk() -> None:
    model, x = net(), (data()[0][:2],)
    options = Options(score="l2", recover="none")
    planning = Planning(model, x, None, None, 1, options, None)
    before = Planner(planning, [Budget.flops(0.5)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    shrink_in_place(model, optimizer, before.plan(0.5).plan, x, None)
    bounds = [Budget(status.cost, status.bound) for status in before.asked]
    after = Planner(planning, bounds, asked=before.asked)
    (status,) = after.reached(None)
    (dense,) = before.asked
    assert status.dense == dense.dense
    assert 0.6 * dense.dense < status.reached <= 0.75 * dense.dense
    for share in (0.75, 1.0):
        (got,) = after.reached(after.plan(share).plan)
        assert got.reached <= dense.dense * (1 - 0.5 * share)
    widths = after.analysis.widths.tolist()
    assert after.excess(widths, 1.0) == pytest.approx(status.reached / dense.dense - 0.5)
    fewer = [*widths[:-1], widths[-1] - 1]
    saved = after.excess(widths, 1.0) - after.excess(fewer, 1.0)
    assert after.cost_per_channel()[-1] == pytest.approx(saved)
