"""Muon in the metric of the data: how far a step goes, and what it doesn't depend on."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ir.trainable import trainable_graph
from graphprune.passes.observe import Moments, input_moments
from graphprune.passes.recover import muon
from graphprune.passes.recover.muon import Metric, Muon, orthogonal
from graphprune.passes.recover.optimizers import NEAREST, RATES, optimizers
from tests import nets


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (3, 4, 7), (6, 1, 9)])
def test_singular_values_come_near_to_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    found = orthogonal(torch.randn(shape) * 1e3)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def step_of(weight: Tensor, x: Tensor, gradient: Tensor, rate: float) -> Tensor:
    """The change of a linear layer's weight in a first step."""
    parameter = nn.Parameter(weight.clone())
    metric = Metric.of(parameter, Moments.of(x[None]))
    parameter.grad = gradient.clone()
    Muon({parameter: [metric]}, rate).step()
    return parameter.detach() - weight


def test_a_step_moves_outputs_by_the_rate_at_most() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 12, dtype=torch.float64) @ torch.randn(12, 12, dtype=torch.float64)
    weight, gradient = torch.randn(6, 12).double(), torch.randn(6, 12).double()
    moved = (x @ step_of(weight, x, gradient, 0.01).T).square().mean().sqrt()
    was = (x @ weight.T).square().mean().sqrt()
    assert 0.006 < float(moved / was) < 0.013
    # It goes down.
    assert float((step_of(weight, x, gradient, 0.01) * gradient).sum()) < 0


def test_a_step_does_not_depend_on_how_inputs_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs ``x Mᵀ`` with weights ``W M⁻¹``: the same function, and the same step of its outputs."""
    monkeypatch.setattr(muon, "DAMPING", 0.0)
    torch.manual_seed(0)
    x, mixing = torch.randn(400, 8, dtype=torch.float64), torch.randn(8, 8, dtype=torch.float64)
    weight, slope = torch.randn(5, 8).double(), torch.randn(400, 5).double()
    back = torch.linalg.inv(mixing)
    plain = x @ step_of(weight, x, slope.T @ x, 0.1).T
    mixed = x @ mixing.T
    other = mixed @ step_of(weight @ back, mixed, slope.T @ mixed, 0.1).T
    torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-6)


def test_moments_of_a_grouped_convolution() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()).eval()
    x = torch.randn(3, 4, 7, 7)
    ((layer, found),) = input_moments(unlift(trace(net, (x,))), [(x,)], per_unknown=10**6).items()
    assert layer.name == "0.weight"
    patches = F.unfold(x, 3).transpose(1, 2).reshape(-1, 2, 18).transpose(0, 1).double()
    torch.testing.assert_close(found.gram, patches.transpose(1, 2) @ patches, rtol=1e-3, atol=1e-4)
    assert found.count == 75
    outputs = net[0](x) - net[0].bias.view(1, -1, 1, 1)
    scale = outputs.reshape(3, 2, -1).square().mean((0, 2)).sqrt()
    metric = Metric.of(net[0].weight, found)
    torch.testing.assert_close(metric.scale.flatten(), scale)
    assert metric.inverse.shape == (2, 18, 18)


def test_every_parameter_has_one_optimizer() -> None:
    torch.manual_seed(0)
    net = nets.SqueezeExcite()
    program = trace(net, net.inputs())
    student = trainable_graph(program)
    for name in RATES:
        made = optimizers(name, 0.0, student, program, [net.inputs()], alone=False)
        held = [id(p) for each in made for group in each.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in student.parameters())
    layers, others = optimizers("muon", 0.0, student, program, [net.inputs()], alone=False)
    (matrices,), (vectors,) = layers.param_groups, others.param_groups
    slower, _ = optimizers("muon", 0.0, student, program, [net.inputs()], alone=True)
    assert slower.param_groups[0]["lr"] == matrices["lr"] / 2
    for error, share in ((4.0, 1), (0.25, 0.5), (0.01, NEAREST), (math.inf, 1)):
        near, rest = optimizers(
            "muon", 0.0, student, program, [net.inputs()], error=error, alone=False
        )
        assert near.param_groups[0]["lr"] == pytest.approx(matrices["lr"] * share)
        assert rest.param_groups[0]["lr"] == pytest.approx(vectors["lr"] * share**2)
    assert all(p.ndim > 1 for p in matrices["params"])
    assert all(p.ndim == 1 for p in vectors["params"])
    assert matrices["lr"] == pytest.approx(RATES["muon"] / len(matrices["params"]))


class Packed(nn.Module):
    """Two layers of which each has a part of one stored weight, the second turned; or a weight of its own."""

    def __init__(self, *, packed: bool, unread: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        w = torch.randn(14 + unread, 6)
        self.packed, self.unread = packed, unread
        self.weights = nn.ParameterList([w] if packed else [w[:6].clone(), w[6:14].T.contiguous()])

    def forward(self, x: Tensor) -> Tensor:
        if self.packed:
            first, second, _ = self.weights[0].split([6, 8, self.unread])
        else:
            first, second = self.weights[0], self.weights[1].T
        return F.linear(torch.relu(F.linear(x, first)), second)


def trained_a_step(*, packed: bool) -> tuple[Tensor, float]:
    """All weights after it, and its rate."""
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    program = trace(Packed(packed=packed).eval(), (x,))
    student = trainable_graph(program)
    (made,) = optimizers("muon", 0.0, student, program, [(x,)], alone=False)
    student(x).square().sum().backward()
    made.step()
    parts = [p.detach() for p in student.parameters()]
    return parts[0] if packed else torch.cat([parts[0], parts[1].T]), made.param_groups[0]["lr"]


def test_parts_of_a_stored_weight_take_steps_of_their_own() -> None:
    (one, rate), (two, other) = (trained_a_step(packed=packed) for packed in (True, False))
    torch.testing.assert_close(one, two)
    assert rate == other


def test_a_weight_that_layers_see_only_parts_of_is_left_to_adamw() -> None:
    x = torch.randn(64, 6)
    program = trace(Packed(packed=True, unread=2).eval(), (x,))
    (made,) = optimizers("muon", 0.0, trainable_graph(program), program, [(x,)], alone=False)
    assert isinstance(made, torch.optim.AdamW)


def test_measuring_changes_no_statistics() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    x = torch.randn(4, 3, 8, 8) + 5
    program = trace(net, (x,))
    student = trainable_graph(program).train()
    before = copy.deepcopy(student.state_dict())
    optimizers("muon", 0.0, student, program, [(x,)], alone=True)
    after = student.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert student.training


def test_shared_and_wide_weights_are_left_to_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphprune.passes.observe import moments as module

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.a(x).relu()).relu())

    x = torch.randn(8, 6)
    program = trace(Tied(), (x,))
    student = trainable_graph(program)
    layers, _ = optimizers("muon", 0.0, student, program, [(x,)], alone=True)
    assert [tuple(p.shape) for p in layers.param_groups[0]["params"]] == [(2, 6)]
    monkeypatch.setattr(module, "WIDEST", 5)
    (alone,) = optimizers("muon", 0.0, student, program, [(x,)], alone=True)
    assert isinstance(alone, torch.optim.AdamW)
