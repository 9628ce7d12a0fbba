"""Observing as a pass: everything is measured when it is done."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration, gather
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes import Analyse, Observe
from graphprune.passes.observe import Observations


def run(net: nn.Module, observe: Observe, news: list[str] | None = None) -> Observations:
    torch.manual_seed(0)
    program = trace(net, (torch.randn(2, 4),))
    data = gather([torch.randn(640, 4)], program)
    pipeline = gp.Pipeline((Analyse(), observe), given=(Calibration,))
    state = gp.State(program).knowing(data)
    return pipeline.run(state, None if news is None else news.append)[Observations]


class Steps(nn.Module):
    """Wide enough in positions for a sample of them to be drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x[:, None].expand(-1, 96, -1)
        return self.b(self.a(y * torch.arange(96.0)[:, None]).relu()).mean(1)


def test_all_is_measured_once_and_told() -> None:
    news: list[str] = []
    seen = run(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), Observe(), news)
    counted = [each for each in news if each.startswith("observe ")]
    assert counted[-1] == f"observe {len(seen.batches)} of {len(seen.batches)}"
    before = list(news)
    assert seen.record.outputs.keys() == set(seen.held_out)
    assert news == before, "nothing is left to be measured"


def test_the_seed_draws_the_rows() -> None:
    rows = [run(Steps(), Observe(seed=seed)).record.rows for seed in (0, 0, 1)]
    numbers = [torch.cat([*each.values()]) for each in rows]
    assert torch.equal(numbers[0], numbers[1])
    assert numbers[0].shape == numbers[2].shape
    assert not torch.equal(numbers[0], numbers[2])


def test_it_needs_data_and_an_analysis() -> None:
    with pytest.raises(ValueError, match="observe needs Calibration"):
        gp.Pipeline((Analyse(), Observe()))
    with pytest.raises(ValueError, match="observe needs Analysis"):
        gp.Pipeline((Observe(),), given=(Calibration,))
    assert Observe.needs == (Analysis, Calibration)


def test_a_model_whose_output_says_nothing_is_refused_at_once() -> None:
    class Best(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x).argmax(1)

    with pytest.raises(OptionError, match="can be compared"):
        run(Best(), Observe())
