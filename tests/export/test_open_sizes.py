"""Sizes that a file leaves open and its program fixes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import ExportError
from graphprune.export.open_sizes import FixedSize, check_other_sizes, fixed_sizes_note
from graphprune.export.ort_session import session
from graphprune.loading import load
from tests.export.edit_onnx.helpers import compressed, was_edited

pytestmark = pytest.mark.onnx


def recurrent(kind: str, states: str, *, steps: int | str = 6) -> onnx.ModelProto:
    """``x [steps, N, 8]`` through a recurrent layer of 16, whose initial states are given in some way."""
    rng = np.random.default_rng(0)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    stored = {
        "w": rng.normal(size=(1, 16 * gates, 8)), "r": rng.normal(size=(1, 16 * gates, 16)) * 0.3,
        "o": rng.normal(size=(16, 4)), "learned": rng.normal(size=(1, 1, 16)), "zero": np.zeros(()),
    }  # fmt: skip
    numbers = {"one": [1], "sixteen": [16], "first": [0], "second": [1], "form": [0, 0, -1]}
    given = {"left-out": "", "filled": "zeros", "expanded": "wide", "learned": "own"}[states]
    made = [
        helper.make_node("Shape", ["x"], ["batch"], start=1, end=2),
        helper.make_node("Concat", ["one", "batch", "sixteen"], ["size"], axis=0),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("Expand", ["zero", "size"], ["wide"]),
        helper.make_node("Expand", ["learned", "size"], ["own"]),
        helper.make_node(
            kind, ["x", "w", "r", "", "", *[given] * (2 if kind == "LSTM" else 1)], ["h"], hidden_size=16
        ),
        helper.make_node("Transpose", ["h"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "form"], ["f"]),
        helper.make_node("MatMul", ["f", "o"], ["y"]),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, "N", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [steps, "N", 4])
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in stored.items()]
    tensors += [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in numbers.items()]
    graph = helper.make_graph(made, "recurrent", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("states", ["left-out", "filled", "expanded", "learned"])
def test_the_batch_of_a_recurrent_layer_stays_open(kind: str, states: str, tmp_path: Path) -> None:
    onnx.save(recurrent(kind, states), tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.6)
    assert was_edited(result), result.report.notes
    assert result.onnx_file
    assert not result.onnx_file.fixed
    assert "Expand" in {node.op_type for node in after.graph.node}


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_steps_that_are_fixed_are_named(kind: str, tmp_path: Path) -> None:
    onnx.save(recurrent(kind, "left-out", steps="T"), tmp_path / "model.onnx")
    found = load(tmp_path / "model.onnx", inputs=["5x2x8"])
    assert found.onnx_file
    assert [(each.name, each.size) for each in found.onnx_file.fixed] == [("T", 5)]
    result = gp.compress(found.program, flops=0.6, score="random").from_file(found.onnx_file)
    done = result.export_onnx(tmp_path / "out.onnx")
    assert was_edited(done), done.report.notes
    assert any("T = 5" in note for note in found.onnx_file.notes)


def table(batch: int | str, rows: int) -> bytes:
    """``x [batch, 4]`` plus a stored table of so many rows."""
    stored = numpy_helper.from_array(np.ones((rows, 4), np.float32), "t")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "t"], ["y"])], "g", [x], [y], [stored])
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


FIXED = (FixedSize(0, 0, "N", 2),)


def test_a_file_that_stores_a_size_is_refused() -> None:
    inputs = [torch.randn(2, 4)]
    check_other_sizes(table("N", 1), table("N", 1), inputs, FIXED)
    with pytest.raises(ExportError, match="onnxruntime can't run"):
        check_other_sizes(table("N", 1), table("N", 2), inputs, FIXED)


def test_results_of_other_sizes_are_refused() -> None:
    """With a batch of 1 the stored rows would be given for each."""
    with pytest.raises(ExportError):
        check_other_sizes(
            table("N", 1), table("N", 2), [torch.randn(1, 4)], (FixedSize(0, 0, "N", 1),)
        )


def test_sizes_that_the_dense_file_refuses_are_passed_over() -> None:
    check_other_sizes(table("N", 2), table("N", 2), [torch.randn(2, 4)], FIXED)


def test_each_file_is_opened_once_whatever_the_number_of_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[bytes] = []

    def count(model: bytes, **options: bool) -> Any:
        opened.append(model)
        return session(model, **options)

    monkeypatch.setattr("graphprune.export.open_sizes.session", count)
    check_other_sizes(table("N", 1), table("N", 1), [torch.randn(2, 4)], FIXED)
    assert len(opened) == 2
    check_other_sizes(table("N", 1), table("N", 1), [torch.randn(2, 4)], ())
    assert len(opened) == 2


def test_the_note_names_each_size_once() -> None:
    note = fixed_sizes_note((*FIXED, FixedSize(1, 0, "N", 2), FixedSize(1, 1, "axis 1 of b", 7)))
    assert "N = 2, axis 1 of b = 7." in note
