"""Programs that torch.onnx fails on, or whose numbers its optimiser drops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.errors import ExportError
from graphprune.export import convert as module
from graphprune.export.check import OnnxDifferenceError, check_onnx
from graphprune.export.run_onnx import run_onnx
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.trace import trace
from tests.export.helpers import program_of


class Small(nn.Module):
    """Ends in a function of a sparse vector that is finite for the sake of a tiny number."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.end = nn.Linear(6, 8), nn.Linear(8, 4), end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.b(self.a(x).relu()).relu())


ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": lambda x: x * (x + 1e-15).log(),
    "quotient": lambda x: x / (x + 1e-12),
    "root": lambda x: (x + 1e-10).rsqrt() * x,
}


@pytest.mark.parametrize("name", ENDS)
def test_numbers_that_the_optimiser_takes_for_zero_stay(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Small(ENDS[name]).eval(), (torch.randn(4, 6),)
    result = gp.compress(net, x, flops=0.6).export_onnx(tmp_path / "small.onnx")
    assert result.report.onnx is not None
    assert result.report.onnx["max_error"] < 1e-4


def test_it_is_the_optimiser_that_drops_them() -> None:
    program = trace(Small(ENDS["entropy"]).eval(), (torch.randn(4, 6),))
    written = [
        to_onnx(program, input_names=["x"], output_names=["y"], optimised=optimised)
        for optimised in (True, False)
    ]
    with pytest.raises(OnnxDifferenceError):
        check_onnx(written[0].SerializeToString(), program)
    check_onnx(written[1].SerializeToString(), program)


class Biased(nn.Module):
    """Attention with a causal bias, as T5's, whose result is viewed after its axes were swapped."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.bias = nn.Embedding(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(7)
        bias = self.bias((place[:, None] - place).abs()).permute(2, 0, 1).unsqueeze(0)
        if self.causal:
            bias = bias + torch.full((7, 7), -1e9).triu(1).expand(len(x), 1, 7, 7)
        parts = self.qkv(x).view(len(x), 7, 3, 4, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], bias)
        return self.out(y.transpose(1, 2).reshape(len(x), 7, -1).contiguous())


@pytest.mark.parametrize("causal", [True, False])
def test_attention_with_a_bias_is_converted(causal: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Biased(causal=causal).eval(), (torch.randn(2, 7, 16),)
    result = gp.compress(net, x, flops=0.6).export_onnx(tmp_path / "small.onnx")
    assert result.report.onnx is not None


def test_the_second_try_changes_no_program_and_the_first_failure_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = trace(Biased(causal=False).eval(), (torch.randn(2, 7, 16),))
    before, seen = str(program.graph), list[str]()

    def failing(program: torch.export.ExportedProgram, *_: object, **__: object) -> None:
        seen.append(str(program.graph))
        raise torch.onnx.OnnxExporterError(f"failure {len(seen)}")

    monkeypatch.setattr(module, "_converted", failing)
    with pytest.raises(ExportError, match="failure 1"):
        module.convert(program, ["x"], ["y"], None)
    assert ["clone" in text for text in seen] == [False, True]
    assert str(program.graph) == before


@pytest.mark.parametrize("pads", [(0, 1, 0, 1), (1, 1, 1, 1), (2, 0, 1, 0)])
def test_zeros_around_negative_values_are_pooled_as_zeros(
    pads: tuple[int, int, int, int], tmp_path: Path
) -> None:
    """As in YOLOv3-tiny: onnxruntime would take the padding for one of the pooling's own."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.SiLU(), nn.ZeroPad2d(pads), nn.MaxPool2d(2, 1), nn.Conv2d(8, 4, 1)
    )
    result = gp.compress(net.eval(), (torch.randn(2, 3, 8, 8),), flops=0.6)
    written = result.export_onnx(tmp_path / "small.onnx").report.onnx
    assert written is not None
    assert written["max_error"] < 1e-4
    operators = [node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node]
    assert operators[-3:] == ["Pad", "MaxPool", "Conv"]


@pytest.mark.parametrize("optimised", [True, False])
def test_zeros_are_found_wherever_the_model_stores_them(*, optimised: bool) -> None:
    net, x = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2, 1)), -torch.rand(2, 3, 8, 8) - 0.1
    model = to_onnx(program_of(net, x), input_names=["x"], output_names=["y"], optimised=optimised)
    torch.testing.assert_close(run_onnx(model.SerializeToString(), [x])[0], net(x))


@pytest.mark.parametrize("dims", [(), 1, (1, 2)])
def test_a_squeeze_of_no_axis_is_converted(dims: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Small(lambda x: x.squeeze(dims)).eval()
    result = gp.compress(net, (torch.randn(4, 5, 6),), flops=0.6)
    written = result.export_onnx(tmp_path / "small.onnx").report.onnx
    assert written is not None
    assert written["max_error"] < 1e-4
