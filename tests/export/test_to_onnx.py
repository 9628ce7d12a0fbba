"""ONNX files: names, dynamic sizes, agreement with PyTorch, and what can't be exported."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from graphprune.errors import ExportError
from graphprune.export import to_onnx as export
from graphprune.export.check import check_onnx
from graphprune.export.onnx_error import ONNX_TOLERANCE
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.program import input_names, output_names, unlift
from graphprune.models import ALL
from graphprune.models.randomize import randomize_batchnorm
from graphprune.passes.batchnorm.fold import fold_batchnorm, foldable
from graphprune.verify.graph_runs import error
from tests.export.helpers import Affine, affine, converted, program_of, sizes

pytestmark = pytest.mark.onnx


NETWORKS = [
    pytest.param(name, marks=[pytest.mark.slow] if name not in {"digits", "vgg"} else [])
    for name in ALL
]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_keeps_names_and_agrees(name: str) -> None:
    torch.manual_seed(0)
    net = ALL[name].build()
    randomize_batchnorm(net, seed=1)
    dense = program_of(net, *ALL[name].example_inputs(), shapes=({0: Dim("n")},))
    small = fold_batchnorm(dense)
    outputs = output_names(dense)
    model = to_onnx(small, input_names=input_names(dense), output_names=outputs)
    assert not foldable(unlift(small))
    assert [v.name for v in model.graph.input] == list(input_names(dense))
    assert [v.name for v in model.graph.output] == list(outputs)
    assert {sizes(v)[0] for v in (*model.graph.input, *model.graph.output)} == {"batch"}
    assert check_onnx(model.SerializeToString(), dense).max_error <= ONNX_TOLERANCE
    left = len(
        unlift(small).graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default)
    )
    assert sum(n.op_type == "BatchNormalization" for n in model.graph.node) <= left
    parameters = {v.name for v in model.graph.initializer}
    assert {n for n in small.state_dict if n.endswith("conv1.weight")} <= parameters


class Several(nn.Module):
    def forward(self, x: dict[str, Tensor], factor: int, mask: Tensor | None = None) -> Any:
        y = x["a"] * factor
        return {"y": y if mask is None else y * mask, "none": None, "best": x["b"].argmax(1)}


def test_structured_inputs_and_outputs_keep_their_order() -> None:
    example = {"a": torch.randn(2, 3, 5), "b": torch.randn(2, 4)}
    shapes = {
        "x": {"a": {0: Dim("n"), 2: Dim("m")}, "b": {0: Dim("n")}},
        "factor": None,
        "mask": None,
    }
    program = program_of(Several(), example, 3, mask=None, shapes=shapes)
    names = ["left", "right", "factor", "mask"]
    model = to_onnx(program, input_names=names, output_names=["y", "nothing", "best"])
    assert {v.name: sizes(v) for v in model.graph.input} == {
        "left": ["batch", 3, "left_dim2"], "right": ["batch", 4]
    }  # fmt: skip
    assert {v.name: sizes(v) for v in model.graph.output} == {
        "y": ["batch", 3, "left_dim2"], "best": ["batch"]
    }  # fmt: skip
    assert check_onnx(model.SerializeToString(), program).max_error <= ONNX_TOLERANCE


class WithNumbers(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x + 1, x.shape[0], {"stride": 8, "scale": 0.5, "name": "p3", "none": None}, x.relu()


def test_numbers_among_the_outputs_are_left_out_and_sizes_are_tensors() -> None:
    program = program_of(WithNumbers(), torch.randn(2, 3), shapes=({0: Dim("n")},))
    names = ["plus", "rows", "stride", "scale", "name", "none", "relu"]
    model = to_onnx(program, input_names=["x"], output_names=names)
    assert {v.name: sizes(v) for v in model.graph.output} == {
        "plus": ["batch", 3], "rows": [], "relu": ["batch", 3]
    }  # fmt: skip
    assert check_onnx(model.SerializeToString(), program).batches == (2, 3)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, -x]).relu()


def test_sizes_computed_from_the_batch_are_renamed_too() -> None:
    program = program_of(Doubled(), torch.randn(4, 3), shapes=({0: Dim("n")},))
    model = converted(program)
    assert sizes(model.graph.output[0]) == ["2*batch", 3]
    assert check_onnx(model.SerializeToString(), program).max_error == 0


def test_a_static_batch_stays_a_number(tmp_path: Path) -> None:
    program = program_of(Affine(), torch.randn(2, 4))
    model = converted(program)
    assert sizes(model.graph.input[0]) == [2, 4]
    onnx.save(model, tmp_path / "small.onnx")
    assert check_onnx(tmp_path / "small.onnx", program).max_error <= ONNX_TOLERANCE


def test_double_precision_and_the_opset_asked_for() -> None:
    program = program_of(Affine().double(), torch.randn(2, 4, dtype=torch.float64))
    model = converted(program, opset=21)
    assert [o.version for o in model.opset_import if not o.domain] == [21]
    assert check_onnx(model.SerializeToString(), program).max_error < 1e-12


def test_the_file_holds_no_paths_of_this_machine() -> None:
    data = converted(affine()).SerializeToString()
    assert b".py" not in data
    assert str(Path(torch.__file__).parent).encode() not in data


class Unsupported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.qr(x)[0]


def test_an_operator_without_onnx_form() -> None:
    with pytest.raises(ExportError, match=r"can't convert.*linalg_qr") as caught:
        converted(program_of(Unsupported(), torch.randn(4, 4)))
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_model_too_large_for_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_BYTES", 10)
    with pytest.raises(ExportError, match="2 GiB"):
        converted(affine())


def test_wrong_number_of_names() -> None:
    with pytest.raises(ExportError, match="2 names for 1"):
        to_onnx(affine(), input_names=["a", "b"], output_names=["y"])


def test_conversion_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    levels = [logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = affine()
        check_onnx(converted(program).SerializeToString(), program)
    assert capfd.readouterr() == ("", "")
    assert [logging.getLogger(n).level for n in ("torch.onnx", "onnxscript")] == levels


class Repeating(nn.Module):
    """Returns a value twice, and its input."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.a(x)
        return y, y, x


def test_outputs_have_names_of_their_own() -> None:
    program = torch.export.export(Repeating(), (torch.randn(2, 4),))
    model = to_onnx(program, input_names=["x"], output_names=["linear", "linear", "x"])
    assert [value.name for value in model.graph.output] == ["linear", "linear_2", "x_2"]
    assert check_onnx(model.SerializeToString(), program).max_error <= 1e-6


def test_an_inner_value_with_the_name_of_an_output() -> None:
    program = torch.export.export(
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (torch.randn(2, 4),)
    )
    model = to_onnx(program, input_names=["x"], output_names=["relu"])
    assert [value.name for value in model.graph.output] == ["relu"]
    assert check_onnx(model.SerializeToString(), program).max_error <= 1e-6


def test_half_precision_outputs_that_vanish_differ_by_roundings() -> None:
    least = torch.full((3,), 6e-8)
    assert error([least.half()], [torch.zeros(3).half()]) < 2e-2
    assert error([least], [torch.zeros(3)]) > 1
    assert error([torch.ones(3).half()], [torch.zeros(3).half()]) > 1
