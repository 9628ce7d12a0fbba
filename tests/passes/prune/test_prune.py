"""The pass that cuts: what it keeps to, whatever the plan says. How it cuts is tested in tests/cut."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import MismatchError
from graphprune.ir.trace import trace
from graphprune.passes import Allocate, Analyse, Decision, FoldBatchNorm, Folded, Prune, Score
from graphprune.verify.oracle import Verdict
from tests import nets
from tests.harness import apply_and_check, operators


class ConvNormConv(nets.Net):
    """The plainest case: no call comes, none goes."""

    ops_before: ClassVar = {"conv2d": 2, "batch_norm": 1, "relu": 1}
    ops_after: ClassVar = ops_before

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.Conv2d(12, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.n(self.a(x))))


class TwoOutputs(nets.Net):
    """Outputs by name, one of them of whole numbers."""

    ops_before: ClassVar = {"conv2d": 2, "argmax": 1}
    ops_after: ClassVar = ops_before

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.b(torch.relu(self.a(x)))
        return {"map": x, "best": x.argmax(1)}


class WithKeyword(nets.Net):
    """An input that is given by name."""

    ops_before: ClassVar = {"linear": 2}
    ops_after: ClassVar = ops_before

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 4)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 6),)

    def keywords(self) -> dict[str, Tensor]:
        return {"shift": torch.randn(2, 6)}

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x + shift)))


TO_HALF = (Analyse(), Score(), Allocate(budget=gp.Budget.flops(0.5)))
NEEDED = (Analysis, Decision)
MINE = (ConvNormConv, TwoOutputs, WithKeyword)


def decided(net: nets.Net) -> gp.State:
    """A net's program with a plan for half of its FLOPs."""
    program = trace(net, net.inputs(), net.keywords())
    return gp.Pipeline(TO_HALF).run(program)


@pytest.mark.parametrize("kind", MINE, ids=lambda kind: kind.__name__)
def test_every_weight_has_the_width_of_the_plan(kind: type[nets.Net]) -> None:
    torch.manual_seed(0)
    net = kind()
    done = apply_and_check(
        Prune(), decided(net), ops_before=net.ops_before, ops_after=net.ops_after
    )
    assert done[Verdict].ok
    for group in done[Decision].plan.groups:
        assert 0 < len(group.keep) < group.width
        for axis in group.axes:
            name, _, dim = axis.rpartition(":")
            assert done.program.state_dict[name].shape[int(dim)] == len(group.keep)


@pytest.mark.parametrize("kind", MINE, ids=lambda kind: kind.__name__)
def test_the_whole_pipeline_from_the_net_on(kind: type[nets.Net]) -> None:
    torch.manual_seed(0)
    done = apply_and_check(gp.Pipeline((*TO_HALF, Prune())), kind())
    assert Analysis not in done.facts  # it was of the dense program


def test_a_plan_that_keeps_everything_changes_no_number() -> None:
    state = decided(ConvNormConv())
    decision = state[Decision]
    groups = tuple(replace(g, keep=tuple(range(g.width))) for g in decision.plan.groups)
    whole = replace(decision, plan=replace(decision.plan, groups=groups))
    program = gp.Pipeline((Prune(),), given=NEEDED).run(state.knowing(whole)).program
    assert operators(program) == operators(state.program)
    x = torch.randn(3, 3, 8, 8)
    assert torch.equal(program.module()(x), state.program.module()(x))


def test_a_cut_program_folds_like_any_other() -> None:
    cut = apply_and_check(Prune(), decided(ConvNormConv()))
    done = apply_and_check(
        FoldBatchNorm(),
        cut,
        exact=True,
        tolerance=1e-5,  # new weights are rounded to float32: measured 2e-8
        idempotent=True,
        ops_before={"conv2d": 2, "batch_norm": 1},
        ops_after={"conv2d": 2, "batch_norm": 0},
    )
    assert (done[Folded].before, done[Folded].after) == (1, 0)
    assert done[Verdict] == cut[Verdict]


def test_a_plan_for_another_architecture_is_refused() -> None:
    state, other = decided(ConvNormConv()), decided(TwoOutputs())
    with pytest.raises(MismatchError):
        gp.Pipeline((Prune(),), given=NEEDED).run(state.knowing(other[Decision]))
