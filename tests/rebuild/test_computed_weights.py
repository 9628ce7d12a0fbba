"""Classes that compute their weights: weight and spectral normalisation take over the change of the norms."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import (
    parametrizations,
    parametrize,
    remove_spectral_norm,
    remove_weight_norm,
    spectral_norm,
    weight_norm,
)

import graphprune as gp
from graphprune.rebuild.computed_weights import computed_weights, fixed_vectors
from tests import nets

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")

Norm = Callable[..., Any]

NORMS: Mapping[str, Norm] = {"parametrised": parametrizations.weight_norm, "legacy": weight_norm}

INPUTS = (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)


class Normed(nn.Module):
    """Norms along either dimension and over all, and one magnitude that is negative."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = norm(nn.Conv2d(3, 24, 3, padding=1))
        self.b = norm(nn.Conv2d(24, 20, 3, padding=1))
        self.up = norm(nn.ConvTranspose2d(20, 16, 2, 2), dim=1)
        self.c, self.head = norm(nn.Linear(16, 32), dim=None), nn.Linear(32, 5)
        for name, parameter in self.b.named_parameters():
            if name.endswith(("_g", "original0")):
                parameter.data[::2].neg_()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.up(torch.relu(self.b(torch.relu(self.a(x))))))
        return self.head(torch.relu(self.c(x.mean((2, 3)))))


def plain(net: nn.Module) -> nn.Module:
    """The same network with plain weights."""
    for module in net.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
        elif hasattr(module, "weight_g"):
            remove_weight_norm(module)
        elif hasattr(module, "weight_orig"):
            remove_spectral_norm(module)
    return net


@pytest.mark.parametrize("kind", NORMS)
def test_the_class_of_a_normed_network_comes_back(kind: str) -> None:
    net = Normed(NORMS[kind])
    net(*INPUTS).sum().backward()  # leaves weights behind that can't be copied
    result = gp.compress(net, INPUTS, flops=0.5)
    assert type(result.model) is Normed
    assert result.report.eager["precision"] == "float64"
    small = result.model
    masked = plain(Normed(NORMS[kind]))
    tensors = dict(masked.named_parameters())
    lost = 0
    for group in result.plan.groups:
        gone = torch.tensor([i for i in range(group.width) if i not in group.keep]).long()
        lost += len(gone)
        for axis in group.axes:
            name, _, dim = axis.rpartition(":")
            name = name.replace("parametrizations.weight.original1", "weight")
            name = name.replace("weight_v", "weight")
            if name in tensors:
                tensors[name].data.index_fill_(int(dim), gone, 0.0)
    assert lost > 10
    with torch.no_grad():
        assert torch.allclose(small(*INPUTS), masked(*INPUTS), atol=1e-5)
    for layer, sizes in (("a", "out_channels"), ("b", "in_channels"), ("up", "in_channels")):
        module: Any = small.get_submodule(layer)
        shape = module.weight.shape
        assert getattr(module, sizes) == shape[1 if (layer, sizes) == ("b", "in_channels") else 0]
    small.train()(*INPUTS).sum().backward()
    assert all(p.grad is not None for p in small.parameters())


@pytest.mark.parametrize("kind", NORMS)
def test_directions_stay_and_magnitudes_take_the_change(kind: str) -> None:
    net = Normed(NORMS[kind])
    result = gp.compress(net, INPUTS, flops=0.5)
    names = [n for n in result.pair.names.values() if n[0].endswith(("_v", "original1"))]
    for (name,) in names:
        sliced = result.pair.sliced(name, net.get_parameter(name))
        assert torch.allclose(result.model.get_parameter(name), sliced, atol=1e-6)
    magnitudes = [n for n, _ in net.named_parameters() if n.endswith(("b.weight_g", "original0"))]
    changes = [
        (result.model.get_parameter(n) / result.pair.sliced(n, net.get_parameter(n))).detach()
        for n in magnitudes
    ]
    assert all(float(change.max()) < 1 + 1e-6 for change in changes)
    assert any(float(change.min()) < 0.99 for change in changes)


def test_a_removal_in_the_smaller_model_leaves_the_dense_one_alone() -> None:
    net = Normed(NORMS["parametrised"])
    small = gp.compress(net, INPUTS, flops=0.5).model
    before = small(*INPUTS)
    for module in small.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    assert torch.allclose(small(*INPUTS), before, atol=1e-6)
    net(*INPUTS)


@pytest.mark.parametrize("kind", NORMS)
def test_refitted_weights_fit_in_as_well(kind: str) -> None:
    net = Normed(NORMS[kind])
    data = [torch.randn(64, 3, 8, 8)]
    result = gp.compress(net, INPUTS, flops=0.6, calibration=data, samples=64)
    assert result.report.recovery["refitted"] > 0
    assert type(result.model) is Normed


def test_widths_for_the_class_may_be_of_normed_layers() -> None:
    net = Normed(NORMS["parametrised"])
    free = gp.compress(net, INPUTS, flops=0.5)
    kept = gp.compress(net, INPUTS, flops=0.5, keep_class=True)
    assert free.plan.keep == kept.plan.keep


class Squared(nn.Module):
    """Rows times their norms, which has an inverse."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * weight.norm(dim=1, keepdim=True)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / weight.norm(dim=1, keepdim=True).sqrt()


class Unit(nn.Module):
    """Rows of norm 1, which shorter ones can't be."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / weight.norm(dim=1, keepdim=True)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


class OneWay(Unit):
    right_inverse = property()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("parametrization", "reason"),
    [(Squared, ""), (Unit, "computes something else"), (OneWay, "compute anew what is baked")],
)
def test_parametrisations_of_ones_own(parametrization: Any, reason: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 4))
    parametrize.register_parametrization(net[2], "weight", parametrization())
    result = gp.compress(net, (torch.randn(2, 6),), flops=0.5, any_width=True)
    assert reason in result.report.eager["reason"]
    assert result.report.eager["own_class"] == (not reason)
    stored = [n for n in result.report.notes if "stored as computed" in n]
    assert len(stored) == bool(reason)


def test_only_what_has_an_inverse_is_found() -> None:
    found = {each.path: each for each in computed_weights(nets.NETS["Reparametrised"]())}
    assert {"a", "b"} <= {*found}
    assert found["a"].sources == {f"a.parametrizations.weight.original{i}" for i in (0, 1)}
    (legacy,) = computed_weights(weight_norm(nn.Linear(2, 2), "bias"))
    assert (legacy.path, legacy.name, legacy.sources) == ("", "bias", {"bias_g", "bias_v"})
    assert not list(computed_weights(nets.NETS["SqueezeExcite"]()))


def test_states_of_what_took_the_change_are_said_to_be_near(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = Normed(NORMS["legacy"])
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(*INPUTS).sum().backward()
    optimizer.step()
    result = gp.compress(net, INPUTS, flops=0.5)
    carried = result.carry(optimizer)
    assert all(s["momentum_buffer"].shape == p.shape for p, s in carried.state.items())
    assert "took over a factor, whose states are as they were" in caplog.text
    assert "b.weight_g" in caplog.text
    average = result.carry(copy.deepcopy(net))
    with torch.no_grad():
        assert torch.allclose(average(*INPUTS), result.model(*INPUTS), atol=1e-6)


SPECTRAL: Mapping[str, Norm] = {
    "parametrised": parametrizations.spectral_norm,
    "legacy": spectral_norm,
}
INNER = {"parametrised": "parametrizations.weight.original", "legacy": "weight_orig"}


class Spectral(nn.Module):
    """Layers of three kinds, normed along their outputs, as the critic of a GAN has them."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = norm(nn.Conv2d(3, 24, 3)), norm(nn.Conv2d(24, 20, 3), n_power_iterations=3)
        self.up = norm(nn.ConvTranspose2d(20, 16, 2, 2))
        self.c, self.head = norm(nn.Linear(16, 32)), norm(nn.Linear(32, 5))

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b, self.up):
            x = nn.functional.leaky_relu(layer(x), 0.2)
        return self.head(torch.relu(self.c(x.mean((2, 3)))))


def masked(net: nn.Module, plan: gp.Plan, inner: str) -> nn.Module:
    """The network with the weights that it computes, zero at the channels removed."""
    made = plain(copy.deepcopy(net).eval())
    tensors = dict(made.named_parameters())
    for group in plan.groups:
        gone = torch.tensor([i for i in range(group.width) if i not in group.keep]).long()
        for axis in group.axes:
            name, _, dim = axis.rpartition(":")
            if (weight := name.replace(inner, "weight")) in tensors:
                tensors[weight].data.index_fill_(int(dim), gone, 0.0)
    return made


@pytest.mark.parametrize("kind", SPECTRAL)
@pytest.mark.parametrize("training", [True, False])
def test_spectral_norms_come_back(kind: str, training: bool) -> None:
    net = Spectral(SPECTRAL[kind]).train(training)
    net(*INPUTS).sum().backward()  # in training it moves the vectors
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = gp.compress(net, INPUTS, flops=0.5)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    small = result.model
    assert type(small) is Spectral
    assert small.training == training
    assert any("spectral norm" in note for note in result.report.notes)
    expected = masked(net, result.plan, INNER[kind])
    with torch.no_grad():
        assert torch.allclose(small.eval()(*INPUTS), expected.eval()(*INPUTS), atol=1e-5)
    for name, parameter in net.named_parameters():
        sliced = result.pair.sliced(name, parameter)
        assert torch.allclose(small.get_parameter(name), sliced, atol=1e-6), name
    again = gp.apply(result.plan, Spectral(SPECTRAL[kind]), INPUTS)
    again.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(*INPUTS), small(*INPUTS))


@pytest.mark.parametrize("kind", SPECTRAL)
def test_training_estimates_spectral_norms_anew(kind: str) -> None:
    net = Spectral(SPECTRAL[kind])
    optimizer = torch.optim.Adam(net.parameters())
    net(*INPUTS).square().sum().backward()
    optimizer.step()
    result = gp.compress(net, INPUTS, flops=0.5)
    small, optimizer = result.model.train(), result.carry(optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        small(*INPUTS).square().sum().backward()
        optimizer.step()
    layer: Any = small.get_submodule("b")
    for _ in range(30):
        small(*INPUTS)
    with torch.no_grad():
        assert float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2)) == pytest.approx(
            1, abs=0.01
        )


@pytest.mark.parametrize("kind", SPECTRAL)
def test_refitted_weights_fit_under_a_spectral_norm(kind: str) -> None:
    data = [torch.randn(64, 3, 8, 8)]
    result = gp.compress(Spectral(SPECTRAL[kind]), INPUTS, flops=0.6, calibration=data, samples=64)
    assert result.report.recovery["refitted"] > 0
    assert type(result.model) is Spectral


def test_vectors_stay_within_the_context_only() -> None:
    layer: Any = parametrizations.spectral_norm(nn.Linear(4, 4))
    (norm,) = layer.parametrizations.weight
    before = norm.get_buffer("_u").clone()
    with fixed_vectors(layer):
        layer.weight  # noqa: B018
    assert torch.equal(norm.get_buffer("_u"), before)
    layer.weight  # noqa: B018
    assert not torch.equal(norm.get_buffer("_u"), before)
    assert norm.training
