"""Sizes that stay open, as far as the network runs at other sizes at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.ir.program import dynamic_dims, user_inputs
from graphprune.loading.onnx import import_onnx
from graphprune.loading.onnx.open_axes import attempts
from graphprune.loading.onnx.read_graph import read_graph
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


def hourglass(levels: int, names: tuple[str, str] = ("h", "w")) -> onnx.ModelProto:
    """Halve an image some times, double it as often and add it to the first one: multiples of 2 ** levels run."""
    draw = np.random.default_rng(0)
    stored = {f"w{i}": draw.normal(size=(8, 8 if i else 3, 3, 3)) / 8 for i in range(levels + 1)}
    stored["scales"] = np.array([1, 1, 2, 2])
    nodes = [helper.make_node("Conv", ["x", "w0"], ["a0"], pads=[1] * 4)]
    for i in range(levels):
        more = {"pads": [1] * 4, "strides": [2, 2]}
        nodes.append(helper.make_node("Conv", [f"a{i}", f"w{i + 1}"], [f"a{i + 1}"], **more))
    last = f"a{levels}"
    for i in range(levels):
        nodes.append(helper.make_node("Resize", [last, "", "scales"], [f"u{i}"], mode="nearest"))
        last = f"u{i}"
    nodes.append(helper.make_node("Add", ["a0", last], ["y"]))
    graph = helper.make_graph(
        nodes,
        "hourglass",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, *names])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8, None, None])],
        [numpy_helper.from_array(value.astype(np.float32), k) for k, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("names", [("h", "w"), ("?", "?"), ("", "")])
@pytest.mark.parametrize("levels", [2, 6])
def test_only_multiples_run(levels: int, names: tuple[str, str], tmp_path: Path) -> None:
    file = saved(hourglass(levels, names), tmp_path)
    program = import_onnx(file, [torch.randn(1, 3, 256, 384)]).program
    assert set(dynamic_dims(program)["x"]) == {0, 2, 3}
    step = 32 if levels < 6 else 128
    assert program.module()(torch.randn(3, 3, step * 3, step * 4)).shape[2:] == (step * 3, step * 4)
    small = gp.compress(program, flops=0.7)
    assert small.report.oracle["batches"] == [2, 3]
    assert small.program.module()(torch.randn(1, 3, step * 5, step * 2)).shape[2:] == (
        step * 5,
        step * 2,
    )


def test_sizes_that_fit_no_step_are_fixed(tmp_path: Path) -> None:
    file = saved(hourglass(2), tmp_path)
    program = import_onnx(file, [torch.randn(1, 3, 20, 28)]).program
    assert set(dynamic_dims(program)["x"]) == {0, 2, 3}  # multiples of 4


def test_an_open_axis_of_size_1_may_have_to_stay_so(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Reshape", ["x", "to"], ["y"]),
        weights={"to": np.array([0, 3])},
        dims=("n", 3, "one"),
    )
    del model.graph.output[0].type.tensor_type.shape.dim[-1]
    program = import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 1)]).program
    assert [x.shape for x in user_inputs(program)] == [(2, 3, 1)]
    assert set(dynamic_dims(program)["x"]) == {0}


def test_attempts_go_from_all_sizes_open_to_none(tmp_path: Path) -> None:
    graph = read_graph(saved(hourglass(1), tmp_path))
    found = attempts(graph, (torch.randn(2, 3, 8, 8),))
    assert [None if each.dims is None else sorted(each.dims[0]) for each in found] == [
        *[[0, 2, 3]] * 3,
        [0],
        None,
    ]
