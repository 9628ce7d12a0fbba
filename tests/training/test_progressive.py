"""Learned thresholds, gates, and layers that shrink."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.models import cifar_resnet
from graphprune.plan.plan import GroupPlan, Plan
from graphprune.training.progressive import Progressive
from tests import nets

from .loop import STEPS, Net, Run, data, net

SAME = 1e-9
"""Of outputs before and after a cut, float64."""


def widths(plan: Plan | None) -> list[int]:
    assert plan is not None
    return [len(group.keep) for group in plan.groups]


def outputs(model: nn.Module) -> torch.Tensor:
    model.eval()
    found = model(data()[0]).detach()
    model.train()
    return found


def test_layers_shrink_in_the_loop_and_the_optimiser_goes_on_with_them() -> None:
    run = Run.of("progressive")
    assert run.sparsify is not None
    model, costs = run.model, []
    assert isinstance(model, Net)
    first = model.stem.weight
    for _ in range(STEPS):
        run.go(1)
        costs.append(sum(p.numel() for p in model.parameters()))
        assert run.optimizer.param_groups[0]["params"] == list(model.parameters())
    assert len(set(costs)) >= 3
    assert costs == sorted(costs, reverse=True)
    assert model.stem.weight is not first or model.stem.out_channels == 12
    assert model.up.out_channels == model.up.weight.shape[0] < 24
    assert run.losses[-1] < 0.8 * run.losses[0]
    before = outputs(model)
    result = run.sparsify.finish(run.optimizer)
    torch.testing.assert_close(outputs(result.model), before, atol=SAME, rtol=SAME)
    assert [g.width for g in result.plan.groups] == [12, 24]
    assert [len(g.keep) for g in result.plan.groups] == [
        model.stem.out_channels,
        model.up.out_channels,
    ]
    assert result.report.budget["asked"] == 0.5


def test_the_plan_is_for_the_model_as_it_was_given() -> None:
    """A plan that is applied to the first weights leaves the shapes that the training ended with."""
    run, dense = Run.of("progressive"), net()
    run.go()
    assert run.sparsify is not None
    assert run.sparsify.plan is not None
    small = gp.apply(run.sparsify.plan, dense, (data()[0][:2],))
    assert {n: p.shape for n, p in small.named_parameters()} == {
        n: p.shape for n, p in run.model.named_parameters()
    }


def test_closed_gates_compute_what_the_cut_would() -> None:
    """Between two milestones, zeroed readers are the masked original of the gates."""
    run = Run.of(Progressive(milestones=1)).go(20)
    assert run.sparsify is not None
    live = run.sparsify._course.live
    threshold = live.memory["threshold"]
    closed = torch.zeros(len(threshold), dtype=torch.bool)
    for number, place in enumerate(live.channels.reading):
        shut = (place.parameter == 0).all(tuple(place.other_dims) if place.other_dims else ())
        closed[place.channels[shut[place.rows]]] = True
        assert number not in live.held or bool((live.held[number] != 0).any())
    assert 0 < int(closed.sum()) < len(closed)
    keep, start = {}, 0
    for group in live.planner.analysis.groups:
        stay = ~closed[start : start + group.width]
        keep[group.id] = tuple(torch.nonzero(stay).flatten().tolist())
        start += group.width
    groups = run.sparsify._course.live.planner.whole().groups
    plan = gp.Plan(
        live.planner.whole().fingerprint,
        tuple(GroupPlan(g.id, g.width, keep[g.id], g.axes) for g in groups),
    )
    small = gp.apply(plan, run.model, (data()[0][:2],))
    torch.testing.assert_close(outputs(small), outputs(run.model), atol=SAME, rtol=SAME)


def test_a_gate_that_opens_again_has_its_weights_back() -> None:
    run = Run.of("progressive").go(6)
    assert run.sparsify is not None
    live = run.sparsify._course.live
    assert live.held
    place = live.channels.reading[next(iter(live.held))]
    closed = {n: h.clone() for n, h in live.held.items()}
    before = place.parameter.detach().clone()
    Progressive().scores(run.sparsify._course.now)
    assert not live.held
    number = next(iter(closed))
    assert torch.equal(place.parameter, before + closed[number])


def test_channels_that_the_loss_needs_stay_though_their_norms_are_like_the_others() -> None:
    """Two branches of one width, one of which the loss doesn't read: that one goes."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1)
            self.read_a, self.read_b = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)
            self.gain = 1e-3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.read_a(torch.relu(self.a(x))), self.read_b(torch.relu(self.b(x)))
            return (a + self.gain * b).mean((2, 3))[:, :4]

    torch.manual_seed(0)
    run = Run.of(Progressive(speed=6.0), Branches().double(), steps=80).go(80)
    assert run.model.a.out_channels > run.model.b.out_channels + 3  # type: ignore[operator]


@pytest.mark.parametrize("budget", [0.5, 0.35])
def test_a_network_of_many_channels_ends_within_half_a_percent(budget: float) -> None:
    torch.manual_seed(0)
    model = cifar_resnet.resnet20()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))
    sparsify = gp.Sparsify(
        model, (x[:2],), flops=budget, method="progressive", optimizer=optimizer, steps=12
    )
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        sparsify.step()
    report = sparsify.report()
    assert 0.995 * budget <= report.budgets[0].plan <= budget
    assert report.note == ""
    result = sparsify.finish(optimizer)
    share = result.report.after.macs / result.report.before.macs
    assert 0.995 * budget <= share <= budget
    assert type(result.model) is type(model)


@pytest.mark.parametrize(
    "kind", [nets.ConcatOfConcats, nets.GroupedConv, nets.FlattenIntoLinear, nets.SqueezeExcite]
)
def test_structures_of_several_kinds_shrink(kind: type[nets.Net]) -> None:
    torch.manual_seed(0)
    model = kind().train()
    inputs = model.inputs()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    sparsify = gp.Sparsify(
        model, inputs, flops=0.7, method="progressive", optimizer=optimizer, steps=9
    )
    for _ in range(9):
        optimizer.zero_grad()
        model(*inputs).square().mean().backward()
        optimizer.step()
        sparsify.step()
    result = sparsify.finish(optimizer)
    assert result.report.budget["met"]
    model.eval()
    result.model.eval()
    torch.testing.assert_close(result.model(*inputs), model(*inputs), atol=1e-4, rtol=1e-4)


def test_without_an_optimiser_what_goes_is_held_at_zero_and_a_note_says_so() -> None:
    run = Run.of(None)
    sparsify = gp.Sparsify(
        run.model, (data()[0][:2],), flops=0.5, method="progressive", steps=STEPS
    )
    run.sparsify = sparsify
    run.go()
    assert isinstance(run.model, Net)
    assert run.model.up.out_channels == 24
    assert sparsify.report().norm == 0
    assert "no optimizer was given" in str(sparsify.report())
    result = sparsify.finish(run.optimizer)
    assert any("no optimizer" in note for note in result.report.notes)
    torch.testing.assert_close(outputs(result.model), outputs(run.model), atol=SAME, rtol=SAME)


def test_gradients_that_are_gone_are_an_error_that_says_when_to_step() -> None:
    run = Run.of("progressive")
    assert run.sparsify is not None
    x, y = data()
    F.cross_entropy(run.model(x), y).backward()
    run.optimizer.step()
    run.optimizer.zero_grad()
    with pytest.raises(OptionError, match="no") as failure:
        run.sparsify.step()
    assert "before zero_grad()" in failure.value.hint


def test_steps_that_a_scaler_leaves_out_leave_no_trace() -> None:
    """A GradScaler begins with a factor that is too large, and skips steps whose gradients overflow."""
    run = Run.of("progressive")
    assert run.sparsify is not None
    assert isinstance(run.model, Net)
    x, y = data()
    for number in range(STEPS):
        run.optimizer.zero_grad()
        (F.cross_entropy(run.model(x), y) + run.sparsify.penalty()).backward()
        if number in {0, 3}:
            assert run.model.up.weight.grad is not None
            run.model.up.weight.grad.fill_(float("inf"))
        else:
            run.optimizer.step()
        run.sparsify.step()
        memory = run.sparsify.state_dict()["memory"]
        assert all(bool(value.isfinite().all()) for value in memory.values())
    assert run.sparsify.finish(run.optimizer).report.budget["met"]


class Dropped(Net):
    """Its branch is left out of every other step, as by stochastic depth."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.training and self.calls % 2:
            x = torch.relu(self.norm(self.stem(x)))
            return self.head(torch.relu(x).mean((2, 3)))
        return super().forward(x)


def test_layers_may_be_left_out_of_a_step() -> None:
    torch.manual_seed(0)
    run = Run.of("progressive", Dropped().double())
    result = run.go().sparsify
    assert result is not None
    assert result.finish(run.optimizer).report.budget["met"]


@pytest.mark.parametrize(
    "options",
    [{"softness": 0.0}, {"decay": 1.0}, {"milestones": 0}, {"reached": 0.0}, {"speed": -1}],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Progressive(**options)  # type: ignore[arg-type]
