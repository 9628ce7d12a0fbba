"""ONNX files as programs: sizes, names, dynamic dimensions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from graphprune.errors import LoadError
from graphprune.ir.program import dynamic_dims, user_inputs
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


def test_sizes_that_are_open_must_be_stated(tmp_path: Path) -> None:
    file = saved(chain(helper.make_node("Relu", ["x"], ["y"]), dims=("n", "width")), tmp_path)
    with pytest.raises(LoadError, match="leaves sizes open: width"):
        import_onnx(file)
    imported = import_onnx(file, [torch.randn(1, 7)])
    assert imported.interface.dims == {(0, 0): "n", (0, 1): "width"}
    with pytest.raises(LoadError, match="takes 1 inputs, not 2"):
        import_onnx(file, [torch.randn(1, 7)] * 2)
    with pytest.raises(LoadError, match="has the shape nxwidth"):
        import_onnx(file, [torch.randn(1, 7, 2)])


def test_a_batch_without_a_name_is_dynamic_all_the_same(tmp_path: Path) -> None:
    imported = import_onnx(
        saved(chain(helper.make_node("Relu", ["x"], ["y"]), dims=(None, 3)), tmp_path)
    )
    assert imported.program.module()(torch.ones(5, 3)).shape == (5, 3)
    assert imported.interface.dims == {}
    assert (imported.interface.inputs, imported.interface.outputs) == (("x",), ("y",))
    assert imported.interface.opset == 18


def test_a_batch_that_the_graph_bakes_in_is_left_so(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Reshape", ["x", "to"], ["y"]),
        weights={"to": np.array([3, 2])},
        dims=("n", 3),
    )
    program = import_onnx(saved(model, tmp_path)).program
    assert dynamic_dims(program) == {}


def test_an_output_that_hangs_on_no_input_is_refused(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Relu", ["x"], ["unread"]),
        helper.make_node("Identity", ["w"], ["y"]),
        weights={"w": np.array([1, 2])},
    )
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(LoadError, match="doesn't depend on its inputs"):
        import_onnx(saved(model, tmp_path))


def looked_up(*between: str) -> onnx.ModelProto:
    """Rows of a table of 50 and of one of 20 by the same numbers, some calls in between."""
    nodes, name = [], "ids"
    for number, operator in enumerate(between):
        more = {"to": TensorProto.INT64} if operator == "Cast" else {}
        nodes.append(helper.make_node(operator, [name], [f"{operator}{number}"], **more))
        name = f"{operator}{number}"
    nodes += [
        helper.make_node("Gather", ["large", name], ["a"]),
        helper.make_node("Gather", ["small", name], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    tables = {"large": np.ones((50, 4), np.float32), "small": np.ones((20, 4), np.float32)}
    graph = helper.make_graph(
        nodes,
        "tables",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 3)],
        [numpy_helper.from_array(value, name) for name, value in tables.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("between", [(), ("Cast",), ("Identity", "Cast")])
def test_example_ids_span_the_smallest_table_that_they_number(
    between: tuple[str, ...], tmp_path: Path
) -> None:
    program = import_onnx(saved(looked_up(*between), tmp_path)).program
    (ids,) = user_inputs(program)
    assert ids.dtype == torch.int32
    assert 10 < int(ids.max()) < 20
    assert int(ids.min()) < 5


def test_whole_numbers_that_number_no_rows_are_0_and_1(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    model = chain(cast, dims=("n", 30))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    (given,) = user_inputs(import_onnx(saved(model, tmp_path)).program)
    assert set(given.flatten().tolist()) == {0, 1}
