"""Which branches a class can do without is found by trying."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.rebuild.class_branches import class_branches
from tests.rebuild.test_gone_branches import ActsOnTheConstant, Perceptron

X = torch.randn(2, 5, 4)


class Several(nn.Module):
    """Blocks of two kinds; only the first kind can go in its class."""

    def __init__(self, *kinds: type[nn.Module]) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
        self.fc1 = nn.ModuleList(nn.Linear(6, 8) for _ in kinds)
        self.fc2 = nn.ModuleList(nn.Linear(8, 6) for _ in kinds)
        self.acts = [kind is ActsOnTheConstant for kind in kinds]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for fc1, fc2, acts in zip(self.fc1, self.fc2, self.acts, strict=True):
            y = fc2(torch.relu(fc1(x)))
            x = x * torch.sigmoid(y) if acts else x + y
        return self.head(x)


def found(net: nn.Module) -> set[str]:
    program = trace(net.eval(), (X,))
    analysis = analyse(program)
    news: list[str] = []
    leads = class_branches(net, program, analysis, news.append)
    assert news
    return {analysis.groups[lead].id for lead in leads}


def test_those_that_can_go_are_told_from_the_others() -> None:
    torch.manual_seed(0)
    good, bad = Perceptron, ActsOnTheConstant
    assert found(Several(good, good)) == {"fc1.0", "fc1.1"}
    assert found(Several(good, bad, good, bad)) == {"fc1.0", "fc1.2"}
    assert found(Several(bad)) == set()


def test_a_plan_takes_those_out_without_which_the_class_runs() -> None:
    torch.manual_seed(0)
    net = Several(Perceptron, ActsOnTheConstant).eval()
    # One channel everywhere takes 50 multiply-adds of 1,140, each block 10 of them.
    own = gp.compress(net, (X,), depth=True, flops=0.04)
    assert own.plan.removed == ("fc1.0",)
    assert own.report.eager["own_class"]
    free = gp.compress(net, (X,), depth=True, flops=0.03)
    assert free.plan.removed == ("fc1.0", "fc1.1")
    assert not free.report.eager["own_class"]
    assert any("so others were chosen" in note for note in free.report.notes)
