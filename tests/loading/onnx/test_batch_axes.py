"""Inputs whose batch stands behind the time steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from graphprune.loading.onnx.batch_axes import batch_axes
from graphprune.loading.onnx.read_graph import read_graph
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(operator: str, *before: onnx.NodeProto, dims: tuple[Any, ...]) -> onnx.ModelProto:
    """A recurrent layer over ``x``, or over ``a`` that nodes make of it; its state is ``h``."""
    rows = GATES[operator] * 4
    generator = np.random.default_rng(0)
    weights: dict[str, Any] = {
        name: generator.normal(size=size).astype(np.float32)
        for name, size in {"w": (1, rows, 8), "r": (1, rows, 4), "m": (8, 8), "b": (8,)}.items()
    }
    inputs = ["a" if before else "x", "w", "r", "", "", "h"]
    layer = helper.make_node(operator, inputs, ["y"], hidden_size=4)
    h, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("h", [1, dims[1], 4]), ("y", [dims[0], 1, dims[1], 4]))
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([*before, layer], "recurrent", [x, h], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


BEFORE = {
    "nothing": [],
    "a product": [helper.make_node("MatMul", ["x", "m"], ["a"])],
    "a layer": [
        helper.make_node("MatMul", ["x", "m"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Relu", ["d"], ["a"]),
    ],
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("operator", GATES)
def test_a_batch_behind_the_steps_needs_no_example(
    operator: str, before: str, tmp_path: Path
) -> None:
    file = saved(recurrent(operator, *BEFORE[before], dims=(5, "N", 8)), tmp_path)
    assert batch_axes(read_graph(file)) == {"x": 1, "h": 1}
    if before == "nothing":
        program = import_onnx(file).program
        assert program.module()(torch.randn(5, 3, 8), torch.randn(1, 3, 4)).shape == (5, 1, 3, 4)


def test_open_steps_are_asked_for(tmp_path: Path) -> None:
    file = saved(recurrent("GRU", dims=("T", "N", 8)), tmp_path)
    with pytest.raises(LoadError) as refused:
        import_onnx(file)
    assert refused.value.message == "input 'x' leaves sizes open: T"


def test_other_inputs_have_it_first(tmp_path: Path) -> None:
    turned = helper.make_node("Transpose", ["x"], ["a"], perm=[1, 0, 2])
    file = saved(recurrent("LSTM", turned, dims=("N", 5, 8)), tmp_path)
    assert batch_axes(read_graph(file)) == {"x": 0, "h": 1}
    file = saved(chain(helper.make_node("Relu", ["x"], ["y"])), tmp_path)
    assert batch_axes(read_graph(file)) == {"x": 0}
