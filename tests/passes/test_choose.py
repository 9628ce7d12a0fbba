"""Which plan is chosen: what repaired plans cost corrects the curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from graphprune import Budget, State, compress
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.errors import InfeasibleBudgetError
from graphprune.ir.trace import trace
from graphprune.passes import Allocate, Choose, Decision, Scores, choose
from graphprune.passes.observe import Observations
from graphprune.passes.recover import THOROUGH, Repaired
from graphprune.passes.recover.ridge import Search
from graphprune.passes.solver import JointlyInfeasible
from graphprune.passes.solver.baselines import GlobalThreshold
from tests.analysis.test_removable import Bottlenecks

GROUPS, WIDTH = 5, 24
OFF = (3.0, 1.0, 2.0, 1.0, 3.0), (1.0, 4.0, 4.0, 1.0, 1.0)
Curves = Mapping[str, NDArray[np.float64]]


class World:
    """A chain of layers whose plans cost what is said here, however they are repaired.

    Args:
        monkeypatch: puts that in the place of the repair.
        off: by what factors the groups' curves of two variants are off.
        samples: calibration samples.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *off: tuple[float, ...], samples: int = 4
    ) -> None:
        layers = [nn.Linear(WIDTH, WIDTH) for _ in range(GROUPS + 1)]
        program = trace(nn.Sequential(*layers), (torch.randn(2, WIDTH),))
        self.analysis = analyse(program)
        ids = [g.id for g in self.analysis.groups]
        assert len(ids) == GROUPS
        lost = np.arange(WIDTH, -1, -1) / WIDTH
        self.right: Curves = {name: lost ** (1.5 + 0.2 * i) for i, name in enumerate(ids)}
        variants: dict[str, Curves] = {
            str(number): {name: f * self.right[name] for name, f in zip(ids, factors, strict=True)}
            for number, factors in enumerate(off)
        }
        ranks = {name: np.arange(1.0, WIDTH + 1) for name in ids}
        observations = Observations(self.analysis, gather([torch.randn(samples, WIDTH)], program))
        self.scores = Scores(ranks, curves=variants["0"], variants=variants)
        self.state = State(
            program,
            facts={Analysis: self.analysis, Observations: observations, Scores: self.scores},
        )
        self.fitted: list[tuple[int, ...] | None] = []
        monkeypatch.setattr(choose, "repair", self.repair)

    def repair(
        self,
        observations: Observations,
        cut: Cut,
        *,
        stage: str,
        near: Repaired | None = None,
        fitted: tuple[int, ...] | None = None,
        search: Search = THOROUGH,
    ) -> Repaired:
        assert (search is THOROUGH) == (stage == "choose best")
        self.fitted.append(fitted)
        widths = [len(cut.channels(g)) for g in self.analysis.groups]
        return Repaired({}, self.cost(self.right, widths), (), cut)

    def cost(self, curves: Curves, widths: list[int]) -> float:
        return float(sum(curve[n] for curve, n in zip(curves.values(), widths, strict=True)))

    def decide(self, method: str = "dp") -> Decision:
        return self.choose(method)[0]

    def choose(self, method: str = "dp") -> tuple[Decision, Repaired]:
        return Choose(Allocate(budget=Budget.flops(0.4), method=method)).run(self.state)

    def reached(self, decision: Decision) -> float:
        return self.cost(self.right, [len(g.keep) for g in decision.plan.groups])


def test_corrected_curves_lead_nearly_to_the_best_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, *OFF)
    found, repaired = world.choose()
    best = Allocate(budget=Budget.flops(0.4)).run(
        world.state.knowing(Scores(world.scores.values, curves=world.right))
    )
    start = Allocate(budget=Budget.flops(0.4)).run(world.state)
    gap = world.reached(found) - world.reached(best)
    assert gap < 0.3 * (world.reached(start) - world.reached(best))
    assert repaired.error == world.reached(found)
    assert found.origin.startswith("curves: corrected")
    assert all(met.met for met in found.budgets)


def test_nothing_is_corrected_where_the_curves_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, (2.0,) * GROUPS, (1e3,) * GROUPS)
    found = world.decide()
    assert len(world.fitted) <= 3, "one plan by both variants, a threshold, and the best again"
    assert "corrected" not in found.origin


@pytest.mark.parametrize("method", ["uniform", "global_threshold"])
def test_other_rules_stay_what_they_are(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, *OFF)
    rule = Allocate(budget=Budget.flops(0.4), method=method)
    plans = [
        rule.run(world.state.knowing(Scores(world.scores.values, curves=curves))).plan
        for curves in world.scores.variants.values()
    ]
    assert world.decide(method).plan in plans


@pytest.mark.parametrize("error", [0.0, float("inf")])
def test_errors_that_tell_nothing_correct_nothing(
    error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, *OFF)
    monkeypatch.setattr(choose, "repair", lambda _, cut, **__: Repaired({}, error, (), cut))
    _, repaired = world.choose()
    assert repaired.error == error


def test_a_threshold_that_finds_no_plan_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object, problem: object) -> None:
        raise JointlyInfeasible(np.array([1.1]))

    world = World(monkeypatch, *OFF)
    monkeypatch.setattr(GlobalThreshold, "__call__", none)
    assert "threshold" not in world.decide().origin


@pytest.mark.parametrize(("samples", "few"), [(100, False), (400, True), (3000, True)])
def test_plans_are_compared_on_few_samples_and_the_best_is_repaired_on_all(
    samples: int, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, *OFF, samples=samples)
    world.choose()
    *compared, last = world.fitted
    assert last is None
    assert (None not in compared) == few
    assert len(compared) >= 3
    size = samples / len(world.state[Observations].batches)
    assert all(128 <= len(each) * size < 128 + 2 * size for each in compared if each is not None)


def test_the_best_plan_keeps_the_better_of_its_two_repairs(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, *OFF, samples=400)
    plain = world.repair

    def worse_on_all(*given: Any, fitted: tuple[int, ...] | None = None, **more: Any) -> Repaired:
        found = plain(*given, fitted=fitted, **more)
        return replace(found, error=found.error + 1) if fitted is None else found

    monkeypatch.setattr(choose, "repair", worse_on_all)
    decision, repaired = world.choose()
    assert repaired.error == world.reached(decision)


@pytest.mark.parametrize("removal_helps", [True, False])
def test_plans_with_all_branches_are_tried_beside_those_without_some(
    removal_helps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = choose.repair

    def judged(observations: Observations, cut: Cut, **options: Any) -> Repaired:
        found = plain(observations, cut, **options)
        return replace(found, error=found.error + 10 * (bool(cut.left.gone) != removal_helps))

    monkeypatch.setattr(choose, "repair", judged)
    torch.manual_seed(0)
    net, images = Bottlenecks().eval(), torch.randn(96, 3, 8, 8)
    result = compress(net, (images[:2],), flops=0.35, depth=True, calibration=[images])
    assert bool(result.plan.removed) == removal_helps
    (note,) = [each for each in result.report.notes if each.startswith("curves: ")]
    assert " widths " in note


def test_where_only_a_network_without_some_branches_is_small_enough_no_other_is_tried() -> None:
    torch.manual_seed(0)
    net, images = Bottlenecks().eval(), torch.randn(64, 3, 8, 8)
    with pytest.raises(InfeasibleBudgetError) as problem:
        compress(net, (images[:2],), params=0.01)
    dense = sum(p.numel() for p in net.parameters())
    share = 0.97 * problem.value.smallest / dense
    result = compress(net, (images[:2],), params=share, depth=True, calibration=[images])
    assert result.plan.removed
    assert not any("widths" in note for note in result.report.notes)


@pytest.mark.parametrize(("off", "tried"), [(1.0, True), (8.0, False), (50.0, False)])
def test_plans_that_the_best_curves_call_far_worse_are_not_repaired(
    off: float, monkeypatch: pytest.MonkeyPatch, *, tried: bool
) -> None:
    """The second variant takes two groups for ``off`` times as costly as they are."""
    monkeypatch.setattr(choose, "HOPELESS", 1.3)
    world = World(monkeypatch, (1.0,) * GROUPS, (off, 1.0, 1.3, 1.0, off))
    note = world.decide().origin
    assert "(0 " in note
    assert (", 1 1." in note) == tried


def test_corrections_end_when_two_in_a_row_are_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    world, errors = World(monkeypatch, *OFF), iter([1.0, 1.1, 1.2, *range(2, 99)])

    def repair(_: object, cut: Cut, **more: Any) -> Repaired:
        return Repaired({}, float(next(errors)), (), cut)

    monkeypatch.setattr(choose, "repair", repair)
    monkeypatch.setattr(choose, "LEAST_GAIN", -9.0)  # all promise enough
    monkeypatch.setattr(choose, "LEAST_SHARE", -9.0)
    note = world.decide().origin
    assert note.count("corrected") <= choose.PATIENCE
