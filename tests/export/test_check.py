"""ONNX models against their programs: what differs is found, and nothing is changed by looking."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from graphprune.errors import ExportError
from graphprune.export.check import check_onnx
from graphprune.export.onnx_error import (
    ONNX_TOLERANCE,
)
from tests.export.helpers import affine, converted, program_of

pytestmark = pytest.mark.onnx


def test_a_wrong_weight_is_found() -> None:
    program = affine()
    model = converted(program)
    weight = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), weight.name))
    with pytest.raises(ExportError, match="differs from PyTorch by") as failure:
        check_onnx(model.SerializeToString(), program)
    assert "try another opset" in str(failure.value.hint)


class Chaotic(nn.Module):
    """What comes out hangs on roundings."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, 4] -> [B, 4]``."""
        return (1e8 * self.layer(x)).sin()


def test_a_difference_that_single_precision_does_not_decide_is_called_so() -> None:
    one, other = (program_of(Chaotic(), torch.randn(2, 4)) for _ in range(2))
    with pytest.raises(ExportError) as failure:
        check_onnx(converted(one).SerializeToString(), other)
    assert "away from its result in float64" in str(failure.value.hint)


class Quiet(nn.Module):
    """A detector's last step: a sigmoid far in its tail, where onnxruntime gets no digit right."""

    def __init__(self, depth: float) -> None:
        super().__init__()
        self.layer, self.depth = nn.Linear(64, 8), depth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, 64] -> [B, 8]``."""
        return (self.layer(x) * self.depth - 20 * self.depth).sigmoid()


@pytest.mark.parametrize("depth", [0.5, 0.75, 1.0])
def test_a_quiet_sigmoid_is_compared_without_its_flat_ends(depth: float) -> None:
    torch.manual_seed(0)
    net, x = Quiet(depth), torch.randn(2, 64)
    program = program_of(net, x)
    found = check_onnx(converted(program).SerializeToString(), program)
    assert found.max_error <= found.tolerance <= ONNX_TOLERANCE
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.layer.weight[3, 5] += 0.05
    with pytest.raises(ExportError, match="differs from PyTorch by"):
        check_onnx(converted(program_of(other, x)).SerializeToString(), program)


class Best(Quiet):
    """Boxes in the order of scores that are far in the tail: onnxruntime has many equal ones there."""

    def __init__(self, depth: float) -> None:
        super().__init__(depth)
        self.boxes = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 64] -> [B, 8]``."""
        places = super().forward(x).topk(8).indices
        return self.boxes(x).gather(1, places)


def test_what_stands_in_the_order_of_quiet_sigmoids_is_compared_without_their_flat_ends() -> None:
    torch.manual_seed(0)
    program = program_of(Best(1.0).eval(), torch.randn(2, 64))
    model = converted(program)
    assert check_onnx(model.SerializeToString(), program).max_error < 1e-5
    weight = next(t for t in model.graph.initializer if "boxes" in t.name and len(t.dims) == 2)
    values = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    with pytest.raises(ExportError):
        check_onnx(model.SerializeToString(), program)


def test_a_model_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="onnxruntime can't run"):
        check_onnx(b"no model", affine())
    with pytest.raises(ExportError, match="onnxruntime can't run"):
        check_onnx(tmp_path / "absent.onnx", affine())


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        self.calls.add_(1)
        return x.mul_(2).index_select(0, index.sub_(1))


def test_comparing_leaves_buffers_and_examples_as_they_are() -> None:
    net, index = Counter(), torch.tensor([1, 2])
    program = program_of(net, torch.randn(2, 4), index)
    check_onnx(converted(program).SerializeToString(), program)
    assert net.calls == 0
    assert index.tolist() == [1, 2]


class Twice(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x.argmax(1)


def test_outputs_are_counted() -> None:
    program = program_of(Twice(), torch.randn(4, 3))
    model = converted(program)
    assert check_onnx(model.SerializeToString(), program).max_error <= ONNX_TOLERANCE
    del model.graph.output[1]
    with pytest.raises(ExportError, match="has 1 outputs, not 2"):
        check_onnx(model.SerializeToString(), program)
