"""Networks that are trained for quantisation are cut with the scales and zero points of their channels."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import graphprune as gp
from graphprune.analysis.frozen import frozen
from graphprune.ops import RULES

aten = torch.ops.aten

EXACT = 1e-6  # float32, one rounding to steps of 0.1 or more


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Small(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 12, 3), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).relu().mean((2, 3)))


def quantised(backend: str, *, observing: bool = False) -> nn.Module:
    """The network as torch prepares it for training with quantisation, after three batches."""
    with warnings.catch_warnings():  # torch.ao.quantization is on its way to another package
        warnings.simplefilter("ignore")
        import torch.ao.quantization as ao

        net = Small().train()
        net.qconfig = ao.get_default_qat_qconfig(backend)  # type: ignore[assignment]
        ao.prepare_qat(net, inplace=True)
        for _ in range(3):
            net(torch.randn(2, 3, 8, 8))
        if not observing:
            net.apply(ao.disable_observer)
    return net.eval()


@pytest.mark.parametrize("backend", ["fbgemm", "qnnpack"])  # a scale for each channel, and for all
def test_a_network_under_such_training_is_cut(backend: str) -> None:
    result = gp.compress(quantised(backend), (torch.randn(2, 3, 8, 8),), flops=0.5)
    assert result.report.oracle["max_error"] < 1e-9
    assert result.report.eager["own_class"]
    first: Any = result.model.get_submodule("a")
    width = len(first.weight)
    assert width < 16
    fake: Any = first.weight_fake_quant
    ranges = fake.activation_post_process
    sizes = [len(t) for t in (fake.scale, fake.zero_point, ranges.min_val.reshape(-1))]
    assert sizes == [width if backend == "fbgemm" else 1] * 3
    result.model(torch.randn(5, 3, 8, 8))


def test_while_it_observes_the_reason_says_what_to_do() -> None:
    with pytest.raises(gp.GraphpruneError) as failure:
        gp.compress(quantised("fbgemm", observing=True), (torch.randn(2, 3, 8, 8),), flops=0.5)
    assert "observes the ranges of values" in failure.value.hint
    assert "torch.ao.quantization.disable_observer" in failure.value.hint


class Rounded(nn.Module):
    """A weight rounded by a scale and a zero point for each of its rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(rows) * 0.02 + 0.01)
        self.register_buffer("zero", torch.randint(-3, 3, (rows,), dtype=torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        scale, zero = self.get_buffer("scale"), self.get_buffer("zero")
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -128, 127)


def parametrised() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))
    for layer, rows in ((net[0], 16), (net[2], 12), (net[4], 4)):
        parametrize.register_parametrization(layer, "weight", Rounded(rows))
    return net


def test_a_parametrised_weight_is_cut_with_its_whole_numbers() -> None:
    result = gp.compress(parametrised(), (torch.randn(2, 6),), params=0.5)
    cut = next(g for g in result.plan.groups if len(g.keep) < g.width)
    assert any(axis.endswith("zero:0") for axis in cut.axes)
    assert result.report.eager["own_class"]
    assert result.report.oracle["max_error"] < 1e-9


def test_whole_numbers_that_are_also_indices_stay_whole() -> None:
    class Indexed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)
            self.register_buffer("scale", torch.rand(8) + 0.01)
            self.register_buffer("zero", torch.arange(8, dtype=torch.int32))

        def forward(self, x: Tensor) -> Tensor:
            scale, zero = self.get_buffer("scale"), self.get_buffer("zero")
            y = torch.fake_quantize_per_channel_affine(self.first(x), scale, zero, 1, -128, 127)
            return self.last(y) + self.last.weight[:, zero.long()].sum()

    analysis = gp.inspect(Indexed(), (torch.randn(2, 6),))
    assert not analysis.groups
    assert any("fake_quantize_per_channel" in f.operator for f in frozen(analysis))


X = torch.randn(6, 5) * 4
ZEROS = torch.arange(6, dtype=torch.int32)


@pytest.mark.parametrize(
    ("operator", "args"),
    [
        (aten.fake_quantize_per_tensor_affine.default, (X, 0.3, 2, 0, 15)),
        (
            aten.fake_quantize_per_tensor_affine.tensor_qparams,
            (X, torch.tensor([0.3]), ZEROS[2:3], 0, 15),
        ),
        (
            aten.fake_quantize_per_channel_affine.default,
            (X, torch.rand(6) + 0.1, ZEROS, 0, 0, 15),
        ),
        (
            aten._fake_quantize_learnable_per_channel_affine.default,
            (X, torch.rand(6) + 0.1, ZEROS.float(), 0, 0, 15, 0.5),
        ),
    ],
)
def test_in_float64_it_rounds_to_the_same_steps(operator: Any, args: tuple[Any, ...]) -> None:
    wide = RULES[operator].in_float64
    assert wide is not None
    inputs = [a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    expected = operator(*args)
    assert (wide(*inputs) - expected).abs().max() <= EXACT * expected.abs().max()


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("observes", [0, 1])
def test_the_fused_call_in_float64(observes: int, rounds: int) -> None:
    def arguments() -> list[Any]:
        switches = (torch.tensor([observes]), torch.tensor([rounds]))
        ranges = (torch.full((6,), -4.0), torch.full((6,), 4.0))
        scale, zero = torch.full((6,), 0.3), torch.arange(6, dtype=torch.int32)
        return [X, *switches, *ranges, scale, zero, 0.01, 0, 15, 0, True, False]

    operator = aten.fused_moving_avg_obs_fake_quant.default
    wide = RULES[operator].in_float64
    assert wide is not None
    given = arguments()
    copies = [a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in given]
    before = [a.clone() for a in copies if isinstance(a, Tensor)]
    expected, got = operator(*arguments()), wide(*copies)
    assert (got - expected).abs().max() <= EXACT * expected.abs().max()
    floats = [a for a in copies if isinstance(a, Tensor)][:-1]
    assert all(torch.equal(a, b) for a, b in zip(floats, before, strict=False))


@pytest.mark.parametrize("zero", [2.0, 2.5, 3.4, -2.3, 20.0])
@pytest.mark.parametrize("low", [0, -8])
def test_learned_zero_points_are_rounded_as_the_operators_round_them(zero: float, low: int) -> None:
    x, scale, point = torch.randn(4, 50), torch.tensor([0.1]), torch.tensor([zero])
    calls: dict[Any, tuple[Any, ...]] = {
        aten._fake_quantize_learnable_per_tensor_affine.default: (x, scale, point, low, 15),
        aten._fake_quantize_learnable_per_channel_affine.default: (
            x, scale.expand(4).clone(), point.expand(4).clone(), 0, low, 15,
        ),
    }  # fmt: skip
    for operator, args in calls.items():
        wide = [a.double() if isinstance(a, Tensor) else a for a in args]
        found = RULES[operator].in_float64(*wide)  # type: ignore[misc]
        assert (found - operator(*args)).abs().max() < EXACT
