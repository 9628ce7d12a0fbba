"""ONNX files as programs: sizes, names, dynamic dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
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
    assert imported.file.names.dims == {(0, 0): "n", (0, 1): "width"}
    with pytest.raises(LoadError, match="takes 1 inputs, not 2"):
        import_onnx(file, [torch.randn(1, 7)] * 2)
    with pytest.raises(LoadError, match="has the shape nxwidth"):
        import_onnx(file, [torch.randn(1, 7, 2)])


def test_a_batch_without_a_name_is_dynamic_all_the_same(tmp_path: Path) -> None:
    imported = import_onnx(
        saved(chain(helper.make_node("Relu", ["x"], ["y"]), dims=(None, 3)), tmp_path)
    )
    assert imported.program.module()(torch.ones(5, 3)).shape == (5, 3)
    assert imported.file.names.dims == {}
    assert (imported.file.names.inputs, imported.file.names.outputs) == (("x",), ("y",))
    assert imported.file.names.opset == 18


def test_a_batch_that_the_graph_bakes_in_is_left_so(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Reshape", ["x", "to"], ["y"]),
        weights={"to": np.array([3, 2])},
        dims=("n", 3),
    )
    program = import_onnx(saved(model, tmp_path)).program
    assert dynamic_dims(program) == {}


@pytest.mark.parametrize(
    ("nodes", "weights", "found"),
    [
        ([helper.make_node("Shape", ["x"], ["s"])], {}, [4, 3]),
        (
            [
                helper.make_node("Shape", ["r"], ["sizes"]),
                helper.make_node("Gather", ["sizes", "w"], ["s"]),
                helper.make_node("Reshape", ["r", "sizes"], ["again"]),  # reads it as sizes
            ],
            {"w": np.array(0)},
            4,
        ),
    ],
    ids=["sizes", "one size"],
)
def test_an_output_that_hangs_on_no_value_of_the_inputs(
    nodes: list[onnx.NodeProto], weights: dict[str, Any], found: Any, tmp_path: Path
) -> None:
    made = helper.make_node("Relu", ["x"], ["r"])
    model = chain(made, *nodes, weights=weights, dims=("n", 3))
    del model.graph.output[:]
    model.graph.output.extend([
        helper.make_tensor_value_info("r", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("s", TensorProto.INT64, np.shape(found)),
    ])
    program = import_onnx(saved(model, tmp_path)).program
    x = torch.randn(4, 3)
    first, second = program.module()(x)
    assert torch.equal(first, x.relu())
    assert second.tolist() == found


def test_an_output_that_is_a_stored_number_is_refused(tmp_path: Path) -> None:
    model = chain(helper.make_node("Relu", ["x"], ["unread"]), weights={"w": np.array([1, 2])})
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.output[0].name = "w"
    with pytest.raises(LoadError, match="an output of the ONNX model is a stored number"):
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


def test_a_table_without_the_axis_that_is_looked_up_is_refused(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["y"], axis=7),
        weights={"table": np.ones((5, 4), np.float32)},
    )
    with pytest.raises(LoadError):
        import_onnx(saved(model, tmp_path))


def test_example_ids_span_a_table_that_is_looked_up_by_a_product(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["ids", "last"], ["wide"]),
        helper.make_node("Equal", ["wide", "numbers"], ["same"]),
        helper.make_node("Cast", ["same"], ["hot"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["hot", "table"], ["y"]),
    ]
    stored = {
        "last": np.array([2]),
        "numbers": np.arange(20, dtype=np.int32),
        "table": np.ones((20, 4), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "one-hot",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 3)],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (ids,) = user_inputs(import_onnx(saved(model, tmp_path)).program)
    assert 10 < int(ids.max()) < 20


def test_whole_numbers_that_number_no_rows_are_0_and_1(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    model = chain(cast, dims=("n", 30))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    (given,) = user_inputs(import_onnx(saved(model, tmp_path)).program)
    assert set(given.flatten().tolist()) == {0, 1}


def pyramid(**pool: Any) -> onnx.ModelProto:
    """A strided convolution, a pooling and a convolution, height and width open."""
    draw = np.random.default_rng(0)
    weights = {
        "w1": draw.normal(size=(8, 3, 3, 3)).astype(np.float32) / 5,
        "w2": draw.normal(size=(4, 8, 3, 3)).astype(np.float32) / 8,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2], **pool),
        helper.make_node("Conv", ["c", "w2"], ["y"], pads=[1] * 4),
    ]
    graph = helper.make_graph(
        nodes,
        "pyramid",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, "oh", "ow"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    "pool",
    [{}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"ceil_mode": 1}],
    ids=["plain", "same-upper", "same-lower", "ceil"],
)
def test_open_heights_and_widths_stay_open(pool: dict[str, Any], tmp_path: Path) -> None:
    file = saved(pyramid(**pool), tmp_path)
    imported = import_onnx(file, [torch.randn(1, 3, 32, 48)])
    assert set(dynamic_dims(imported.program)["x"]) == {0, 2, 3}
    result = gp.compress(imported.program, flops=0.6).from_file(imported.file)
    result.export_onnx(tmp_path / "small.onnx")
    small = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    assert small.get_inputs()[0].shape == ["n", 3, "h", "w"]
    for size in ((1, 3, 32, 48), (3, 3, 41, 22), (2, 3, 50, 51)):
        x = torch.randn(size)
        (got,) = small.run(None, {"x": x.numpy()})
        want = result.program.module()(x)
        assert torch.allclose(torch.from_numpy(got), want, atol=1e-5)


@pytest.mark.parametrize(
    "names",
    [("n", "h", "w"), ("?", "?", "?"), (None, None, None), ("n", "?", "?"), (-1, None, "w")],
)
def test_open_axes_may_share_a_name_or_have_none(names: tuple[Any, ...], tmp_path: Path) -> None:
    model = pyramid()
    for axis, name in zip((0, 2, 3), names, strict=True):
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        if isinstance(name, int):
            dim.dim_value = name
        elif name is not None:
            dim.dim_param = name
    imported = import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 32, 48)])
    assert set(dynamic_dims(imported.program)["x"]) == {0, 2, 3}
    assert imported.program.module()(torch.randn(5, 3, 20, 41)).shape == (5, 4, 5, 10)


FAILING = {
    "negative power": ("Pow", TensorProto.INT32, (2, 3), np.int32(-2)),
    "a negative power with axes": ("Pow", TensorProto.INT64, (4,), np.array([-1])),
    "many axes": ("Pow", TensorProto.INT64, (1, 2, 1), np.int64(-3)),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_only_fails_when_it_is_run_is_refused(name: str, tmp_path: Path) -> None:
    operator, kind, dims, number = FAILING[name]
    model = chain(helper.make_node(operator, ["x", "w"], ["y"]), weights={"w": number}, dims=dims)
    model.graph.input[0].type.tensor_type.elem_type = kind
    model.graph.output[0].type.tensor_type.elem_type = kind
    with pytest.raises(LoadError, match="fails on inputs like the examples"):
        import_onnx(saved(model, tmp_path))
