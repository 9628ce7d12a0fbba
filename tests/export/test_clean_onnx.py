"""What is left in an ONNX file, which operator set it is in, and float16."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import graphprune as gp
from graphprune.errors import ExportError
from graphprune.export.run_onnx import run_onnx

pytestmark = pytest.mark.onnx


class Net(nn.Module):
    """Something to fold, to drop, to compute beforehand, and a weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.d, self.head = nn.Conv2d(24, 16, 1), nn.Linear(16, 4)
        self.drop, self.same = nn.Dropout(0.5), nn.Identity()
        self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16, bias=False)
        self.c.weight = self.b.weight
        self.scale = nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.d(self.same(F.relu(self.norm(self.a(x))))).mean((2, 3))
        return self.head(self.c(self.drop(self.b(x)))) * (2 * self.scale + 1)


@pytest.fixture(scope="module")
def result() -> gp.Result:
    torch.manual_seed(0)
    net = Net()
    net.norm.running_mean.uniform_(-1, 1)
    return gp.compress(net.eval(), (torch.randn(2, 3, 8, 8),), flops=0.6)


def test_nothing_is_left_that_could_be_computed_before(result: gp.Result, tmp_path: Path) -> None:
    result.export_onnx(tmp_path / "a.onnx")
    model = onnx.load(str(tmp_path / "a.onnx"))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not kinds.keys() & {"Identity", "BatchNormalization", "Dropout", "Constant", "Cast"}
    stored = {t.name for t in model.graph.initializer}
    assert not [n.name for n in model.graph.node if set(n.input) <= stored]
    square = [t for t in model.graph.initializer if len(t.dims) == 2 and t.dims[0] == t.dims[1]]
    assert len(square) == 1  # the tied weight, stored once


@pytest.mark.parametrize("opset", [18, 20])
def test_the_operator_set_that_was_asked_for(result: gp.Result, tmp_path: Path, opset: int) -> None:
    done = result.export_onnx(tmp_path / "a.onnx", opset=opset)
    versions = [o.version for o in onnx.load(str(tmp_path / "a.onnx")).opset_import if not o.domain]
    assert versions == [opset]
    assert done.report.onnx["max_error"] < done.report.onnx["tolerance"]


def test_an_operator_set_that_can_not_be_had_is_an_error(result: gp.Result, tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        result.export_onnx(tmp_path / "a.onnx", opset=99)
    assert not (tmp_path / "a.onnx").exists()


def test_float16_has_a_file_and_a_check_of_its_own(result: gp.Result, tmp_path: Path) -> None:
    done = result.export_onnx(tmp_path / "a.onnx", fp16=tmp_path / "half.onnx")
    half = onnx.load(str(tmp_path / "half.onnx"))
    assert {t.data_type for t in half.graph.initializer if t.dims} <= {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT64,
    }
    assert [v.type.tensor_type.elem_type for v in (*half.graph.input, *half.graph.output)] == [
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT,
    ]
    x = torch.randn(3, 3, 8, 8)
    (whole,) = run_onnx(tmp_path / "a.onnx", [x])
    (small,) = run_onnx(tmp_path / "half.onnx", [x])
    error = float((whole - small).abs().max() / whole.abs().max())
    assert 0 < error < done.report.onnx["fp16_tolerance"]
    assert done.report.onnx["fp16_error"] < done.report.onnx["fp16_tolerance"]
    assert set(done.report.files) == {"a.onnx", "half.onnx"}
