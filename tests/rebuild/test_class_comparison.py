"""The user's module, cut, against the cut program."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import VerifyError
from graphprune.ir.trace import trace
from graphprune.rebuild.class_comparison import FLOAT64, ClassComparison
from graphprune.rebuild.rebuild import rebuild
from graphprune.verify.oracle import TOLERANCE, verify


class Scaled(nn.Module):
    """Scales by a number that its code works out from a width, in a way that no graph shows."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.a, self.b, self.plain = nn.Linear(4, 8), nn.Linear(8, 2), plain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        return self.b(y if self.plain or y.shape[1] == 8 else 2 * y)


X = torch.randn(2, 4)


def half(net: nn.Module) -> Cut:
    analysis = analyse(trace(net, (X,)))
    return Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})


def test_code_that_computes_the_same_matches_in_float64() -> None:
    net = Scaled(plain=True)
    cut = half(net)
    found = ClassComparison(net, cut.analysis, cut.program).match(cut, cut.module)
    assert found.error <= found.tolerance == TOLERANCE
    assert found.precision == FLOAT64
    assert net.a.out_features == 8


def test_code_that_computes_something_else_does_not_match() -> None:
    net = Scaled(plain=False)
    cut = half(net)
    with pytest.raises(VerifyError, match="new sizes"):
        ClassComparison(net, cut.analysis, cut.program).match(cut, cut.module)


def test_the_runs_of_the_oracle_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    cut = half(net)
    runs = verify(cut).runs
    assert [(run.grow, bool(run.tensors)) for run in runs] == [(0, False), (1, True)]
    monkeypatch.setattr("graphprune.rebuild.class_comparison.run", None)
    monkeypatch.setattr("graphprune.rebuild.class_comparison.perturbed_pair", None)
    assert rebuild(net, cut, cut.program, runs).max_error <= TOLERANCE
