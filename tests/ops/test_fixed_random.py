"""Networks that draw random numbers are cut, proven and exported like others, and go on drawing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphprune as gp
from graphprune.errors import ExportError
from graphprune.export.check import check_onnx
from graphprune.export.fixed_random import with_fixed_random
from graphprune.export.run_onnx import run_onnx
from graphprune.ir.trace import trace
from graphprune.ops.fixed_random import FixedRandom, random_calls
from graphprune.workflow.compare_files import compare


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Autoencoder(nn.Module):
    """A variational one: the code is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mean, self.spread = nn.Linear(8, 24), nn.Linear(24, 16), nn.Linear(24, 16)
        self.outer, self.out = nn.Linear(16, 24), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 8] -> [B, 8]``."""
        h = self.inner(x).relu()
        mean, spread = self.mean(h), (0.5 * self.spread(h)).exp()
        return self.out(self.outer(mean + torch.randn_like(mean) * spread).relu())


class Between(nn.Module):
    """Two convolutions with something random between them."""

    def __init__(self, drawn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 4, 3)
        self.drawn = drawn

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 3, 8, 8] -> [B, 4, 4, 4]``."""
        return self.second(self.drawn(self.first(x)).relu())


def _without_gradients(x: Tensor) -> Tensor:
    """A region of its own."""
    with torch.no_grad():
        return x + torch.randn_like(x)


DRAWN: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x + torch.randn_like(x),
    "normal, one channel": lambda x: x + torch.randn(x.shape[0], 1, *x.shape[2:]),
    "normal, of literal sizes": lambda x: x + torch.randn(12, 1, 1),
    "normal, around values": lambda x: torch.normal(x, torch.ones_like(x)),
    "normal, in a region": _without_gradients,
    "uniform": lambda x: x * torch.rand_like(x),
    "whole numbers": lambda x: x * torch.randint(1, 5, (x.shape[0], 1, 1, 1)),
    "exponential": lambda x: F.gumbel_softmax(x, dim=-1),
    "0 or 1": lambda x: x * torch.bernoulli(x.sigmoid()),
    "0 or 1, in place": lambda x: x * x.new_empty(x.shape[0], 12, 1, 1).bernoulli_(0.8),
    "dropout that is on": lambda x: F.dropout(x, 0.3),
    "dropout that is on, of channels": lambda x: F.dropout2d(x, 0.3),
    "dropout that is on, of nearly all": lambda x: x + F.dropout(x, 0.9),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_random_network_is_cut_and_exported(name: str, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 8, 8)
    model = Between(DRAWN[name]).eval()
    result = gp.compress(model, (x,), flops=0.5).export_onnx(tmp_path / "small.onnx")
    assert result.report.after.macs <= 0.5 * result.report.before.macs
    assert result.report.oracle["max_error"] < 1e-9
    assert result.report.onnx["max_error"] < 1e-5
    assert isinstance(result.model, Between) or "12" in result.report.eager["reason"]
    assert any("draws random numbers" in note for note in result.report.notes)
    once = result.model(x)
    assert not all(torch.equal(result.model(x), once) for _ in range(20))  # it still does


def test_a_repair_sees_the_same_numbers_in_both_networks() -> None:
    data = [(torch.randn(16, 8),) for _ in range(8)]
    result = gp.compress(Autoencoder().eval(), data[0], flops=0.5, calibration=data, distil=5)
    recovery = result.report.recovery
    assert recovery["after"] < recovery["before"]
    assert isinstance(result.model, Autoencoder)


def test_files_of_a_random_network_are_compared_again(tmp_path: Path) -> None:
    x = torch.randn(2, 8)
    model = Autoencoder().eval()
    result = gp.compress(model, (x,), flops=0.5).export_onnx(tmp_path / "model.onnx")
    torch.export.save(result.program, tmp_path / "model.pt2")
    for file in ("model.onnx", "model.pt2"):
        assert compare(model, (x,), tmp_path / file, result.plan).ok
    other = gp.compress(Autoencoder().eval(), (x,), plan=result.plan).export_onnx(
        tmp_path / "other.onnx"
    )
    assert other.report.onnx["max_error"] < 1e-5
    assert not compare(model, (x,), tmp_path / "other.onnx", result.plan).ok


def test_a_wrong_onnx_file_of_a_random_network_is_found(tmp_path: Path) -> None:
    x = torch.randn(2, 8)
    first, second = Autoencoder().eval(), Autoencoder().eval()
    gp.compress(first, (x,), flops=1.0).export_onnx(tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="differs from PyTorch"):
        check_onnx(tmp_path / "model.onnx", trace(second, (x,)))


def test_a_held_onnx_model_computes_what_a_held_network_does(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 8, 8)
    model, path = Between(DRAWN["normal"]).eval(), tmp_path / "model.onnx"
    gp.compress(model, (x,), flops=1.0).export_onnx(path)
    with FixedRandom():
        expected = model(x)
    (held,), (drawn,) = run_onnx(with_fixed_random(path), [x]), run_onnx(path, [x])
    assert torch.allclose(held, expected, atol=1e-5)
    assert not torch.allclose(drawn, expected, atol=1e-2)


def test_only_calls_that_draw_count() -> None:
    x = torch.randn(2, 3, 8, 8)
    off = trace(Between(nn.Dropout(0.5)).eval(), (x,))
    on = trace(Between(lambda x: F.dropout(x, 0.5)).eval(), (x,))
    assert not random_calls(off.graph)
    assert len(random_calls(on.graph)) == 1
    attention = Between(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.0))
    assert not random_calls(trace(attention.eval(), (x,)).graph)
    inside = Between(_without_gradients)
    assert len(random_calls(trace(inside.eval(), (x,)).graph)) == 1


def test_stand_ins() -> None:
    p = torch.tensor([0.2, 0.7])
    with FixedRandom():
        assert torch.randn(3).tolist() == [0.5] * 3
        assert torch.normal(torch.ones(2), 2.0).tolist() == [2.0] * 2
        assert torch.empty(2).uniform_(1, 3).tolist() == [2.0] * 2
        assert torch.randint(2, 7, (2,)).tolist() == [4, 4]
        assert torch.equal(torch.bernoulli(p), p)
        assert torch.equal(F.dropout(p, 0.5), p)
        assert torch.equal(torch.randperm(9), torch.randperm(9))
        assert torch.equal(F.rrelu(-p, training=True), F.rrelu(-p))
    with FixedRandom(rounded=True):
        assert torch.bernoulli(p).tolist() == [0.0, 1.0]
    assert torch.randn(3).tolist() != [0.5] * 3


def test_draws_on_the_cpu_leave_the_generators_of_gpus_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    with FixedRandom():
        first, second = torch.randperm(8), torch.randperm(8)
        torch.rand(3)
    assert torch.equal(first, second)
    assert not seeded
    assert torch.equal(torch.get_rng_state(), before)
