"""Sweeps: which channels go first, and what that costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.score.obs import eliminate_backwards, find_readers
from tests.passes.observe.helpers import Residual, shaken


def test_a_channel_that_others_make_up_for_is_lost_without_error() -> None:
    """Channels 4 to 7 copy channels 0 to 3: half of them say everything."""
    torch.manual_seed(0)
    net = shaken(Residual())
    with torch.no_grad():
        net.stem.weight[4:] = 2 * net.stem.weight[:4]
        net.stem.bias[4:] = 2 * net.stem.bias[:4]
    program = trace(net, (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    seen = Observations(analysis, gather([torch.randn(200, 3, 8, 8)], program))
    stem = next(g for g in analysis.groups if g.id == "stem")
    result = eliminate_backwards(seen, stem, find_readers(seen)[stem.id])
    assert {c % 4 for c in result.order[4:]} == {0, 1, 2, 3}
    assert result.curve[4] < 0.02 * result.curve[5]


def test_the_curve_is_the_least_squares_error() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(10, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)))

    net = Net()
    data = torch.randn(500, 10)
    program = trace(net, (data[:2],))
    analysis = analyse(program)
    seen = Observations(analysis, gather([data], program))
    (group,) = analysis.groups
    result = eliminate_backwards(seen, group, find_readers(seen)[group.id], points=(3,))
    fitted = torch.cat([seen.batches[b][0] for b in seen.fitted])
    hidden = torch.relu(net.a(fitted)).detach().double()
    hidden = hidden - hidden.mean(0)
    target = hidden @ net.b.weight.detach().double().T
    for gone in range(1, 8):
        left = list(result.order[gone:])
        best = torch.linalg.lstsq(hidden[:, left], target).solution
        error = (hidden[:, left] @ best - target).square().sum(1).mean()
        assert result.curve[gone] == pytest.approx(float(error), rel=0.02, abs=1e-6)
    (weight,) = result.refits[3]
    left = sorted(result.order[5:])
    best = torch.linalg.lstsq(hidden[:, left], target).solution
    torch.testing.assert_close(weight[0][:, left], best.T, rtol=0.05, atol=0.01)
