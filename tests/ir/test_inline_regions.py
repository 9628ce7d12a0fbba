"""Regions that torch.export wraps calls in: their calls are analysed, counted and cut like others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.errors import TraceError
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace

Net = Callable[["Regional", Tensor], Tensor]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Regional(nn.Module):
    """Two convolutions, called as a function says."""

    def __init__(self, inside: Net) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.second, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 5)
        self.inside = inside

    def body(self, x: Tensor) -> Tensor:
        """The first layer."""
        return self.norm(self.first(x)).relu()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 3, 8, 8] -> [B, 5]``."""
        return self.head(self.inside(self, x).float().relu().mean((2, 3)))


def plain(net: Regional, x: Tensor) -> Tensor:
    """No region."""
    return net.second(net.body(x))


def lower(net: Regional, x: Tensor) -> Tensor:
    """In bfloat16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return net.second(net.body(x))


def off(net: Regional, x: Tensor) -> Tensor:
    """As where a part must stay precise."""
    with torch.autocast("cpu", enabled=False):
        return net.second(net.body(x).float())


def nested(net: Regional, x: Tensor) -> Tensor:
    """One in another, with a constant."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net.body(x)
        with torch.no_grad():
            y = y * torch.tensor([2.0])
        with torch.autocast("cpu", enabled=False):
            return net.second(y.float())


def halved(net: Regional, x: Tensor) -> Tensor:
    """Autocast brings a half-precision value and a single-precision weight together."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return net.second(net.body(x).bfloat16())


@pytest.mark.parametrize("inside", [lower, off, nested])
def test_regions_are_cut(inside: Net, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 8, 8)
    model = Regional(inside).eval()
    data = [(torch.randn(8, 3, 8, 8),) for _ in range(4)]
    result = gp.compress(model, (x,), flops=0.5, calibration=data).export_onnx(
        tmp_path / "small.onnx"
    )
    whole = gp.compress(Regional(plain).eval(), (x,), flops=0.5)
    assert result.report.before.macs == whole.report.before.macs
    assert result.report.after.macs <= 0.5 * result.report.before.macs
    assert isinstance(result.model, Regional)
    assert result.model(x).isfinite().all()
    notes = [note for note in result.report.notes if "autocast" in note]
    assert bool(notes) == (inside is not off)
    assert all("bfloat16" in note for note in notes)


def test_values_in_a_region_have_the_type_they_are_computed_in() -> None:
    graph = unlift(trace(Regional(lower).eval(), (torch.randn(2, 3, 8, 8),))).graph
    kinds = {
        node.meta["val"].dtype for node in graph.nodes if isinstance(node.meta.get("val"), Tensor)
    }
    assert kinds == {torch.float32, torch.int64}  # batches that BatchNorm has seen are counted


def test_types_that_only_autocast_brings_together_are_an_error_with_a_line() -> None:
    with pytest.raises(TraceError, match="without autocast the model's types don't fit") as failure:
        gp.compress(Regional(halved).eval(), (torch.randn(2, 3, 8, 8),), flops=0.5)
    assert failure.value.where.startswith("test_inline_regions.py:")
