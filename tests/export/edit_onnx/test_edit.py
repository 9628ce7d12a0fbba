"""What torch.onnx writes of small nets with many idioms is edited, node by node."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import nets

from .helpers import compressed, exported, was_edited

pytestmark = pytest.mark.onnx

NETS = (
    "AntiAliased", "Chunked", "ChunkGate", "CosineAttention", "CrossStage", "GlobalResponseNorm",
    "GroupedConv", "NormedResidual", "Recurrent", "WeightStandardised",
)  # fmt: skip
WRITERS = {
    "dynamo-18": {"dynamo": True, "opset_version": 18, "external_data": False},
    "script-13": {"dynamo": False, "opset_version": 13},
    "script-9": {"dynamo": False, "opset_version": 9},
}
CANNOT = {("CosineAttention", "script-9"), ("Recurrent", "dynamo-18")}
"""Nets that this exporter doesn't write, or not as onnxruntime runs them."""


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", NETS)
def test_nodes_names_and_opset_stay(name: str, writer: str, tmp_path: Path) -> None:
    if (name, writer) in CANNOT:
        pytest.skip("not written in this opset")
    file = exported(nets.NETS[name](), tmp_path / "net.onnx", **WRITERS[writer])
    result, after = compressed(file)
    before = onnx.load(file)
    assert was_edited(result), result.report.notes
    assert result.report.onnx["max_error"] <= result.report.onnx["tolerance"]
    assert after.opset_import == before.opset_import
    assert after.producer_name == before.producer_name
    assert after.metadata_props == before.metadata_props
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    added = Counter(n.op_type for n in after.graph.node)
    added.subtract(n.op_type for n in before.graph.node)
    # A factor that makes up for a mean over fewer channels; what is stored now.
    assert {operator for operator, count in added.items() if count > 0} <= {"Constant", "Mul"}
    elements = [sum(len(t.raw_data) for t in m.graph.initializer) for m in (before, after)]
    assert elements[1] < elements[0]


@pytest.mark.parametrize("options", [{}, {"opset_version": 17}], ids=["18", "17"])
def test_shapes_of_values_inside_are_stated_anew(options: dict[str, Any], tmp_path: Path) -> None:
    file = exported(nets.NormedResidual(), tmp_path / "net.onnx", dynamo=False, **options)
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(file)), file)
    _, after = compressed(file)
    assert after.graph.value_info
    onnx.checker.check_model(after, full_check=True)


def test_a_size_stated_as_minus_one_is_open(tmp_path: Path) -> None:
    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(draw.standard_normal(shape, np.float32), name)

    draw = np.random.default_rng(0)
    numbers = {"start": 0, "end": 1, "axis": 0}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Slice", ["r", *numbers], ["first"]),
        helper.make_node("Conv", ["first", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [-1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [-1, 4, 8, 8])],
        [
            weight("a", 8, 3, 3, 3),
            weight("b", 4, 8, 3, 3),
            *(numpy_helper.from_array(np.array([n]), name) for name, n in numbers.items()),
        ],
        value_info=[helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, [-1, 8, 8, 8])],
    )
    opset = helper.make_opsetid("", 13)
    file = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), file)
    result, after = compressed(file)
    assert was_edited(result), result.report.notes
    assert after.graph.input == graph.input
    assert [value.name for value in after.graph.value_info] == ["h", "r", "first"]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_scan_that_starts_at_stored_zeros_stays(batch: int, tmp_path: Path) -> None:
    """Its first product is one of stored tensors, which the cut program holds as one."""
    rng = np.random.default_rng(0)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["step", "w"], ["a"]),
            helper.make_node("MatMul", ["old", "r"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["c"]),
            helper.make_node("Tanh", ["c"], ["new"]),
            helper.make_node("Identity", ["new"], ["given"]),
        ],
        "body",
        [value("old", TensorProto.FLOAT, None), value("step", TensorProto.FLOAT, None)],
        [value("new", TensorProto.FLOAT, None), value("given", TensorProto.FLOAT, None)],
    )
    stored = {
        "w": rng.normal(size=(4, 12)),
        "r": rng.normal(size=(12, 12)) / 4,
        "o": rng.normal(size=(12, 3)),
        "first": np.zeros((batch, 12)),
    }
    made = [
        helper.make_node("Scan", ["first", "x"], ["last", "all"], num_scan_inputs=1, body=body),
        helper.make_node("MatMul", ["all", "o"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in stored.items()]
    x, y = (
        value("x", TensorProto.FLOAT, [5, batch, 4]),
        value("y", TensorProto.FLOAT, [5, batch, 3]),
    )
    graph = helper.make_graph(made, "scan", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.6)
    assert was_edited(result), result.report.notes
    assert [n.op_type for n in after.graph.node] == ["Scan", "MatMul"]
    sizes = {t.name: list(t.dims) for t in after.graph.initializer}
    assert sizes["first"][1] == sizes["r"][0] == sizes["r"][1] == sizes["o"][0] < 12


def test_bodies_that_state_the_sizes_of_their_values_are_edited(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    sizes = {"first": (8, 24), "w": (24, 48), "last": (24, 4)}
    stored: dict[str, Any] = {
        k: generator.normal(size=v).astype(np.float32) / 5 for k, v in sizes.items()
    }
    stored |= {"times": np.array(3), "go": np.array(True)}
    node, info, kind = helper.make_node, helper.make_tensor_value_info, TensorProto
    body = helper.make_graph(
        [
            node("Identity", ["more"], ["again"]),
            node("MatMul", ["h", "u"], ["m"]),
            node("Split", ["m"], ["a", "b"], axis=1),
            node("Sigmoid", ["a"], ["s"]),
            node("Mul", ["s", "b"], ["next"]),
            node("Identity", ["u"], ["kept"]),
        ],
        "body",
        [
            info("i", kind.INT64, []), info("more", kind.BOOL, []),
            info("h", kind.FLOAT, ["n", 24]), info("u", kind.FLOAT, [24, 48]),
        ],
        [
            info("again", kind.BOOL, []), info("next", kind.FLOAT, ["n", 24]),
            info("kept", kind.FLOAT, [24, 48]),
        ],
    )  # fmt: skip
    graph = helper.make_graph(
        [
            node("MatMul", ["x", "first"], ["start"]),
            node("Loop", ["times", "go", "start", "w"], ["z", "same"], body=body),
            node("MatMul", ["z", "last"], ["y"]),
        ],
        "steps",
        [info("x", kind.FLOAT, ["n", 8])],
        [info("y", kind.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    result, after = compressed(tmp_path / "net.onnx")
    assert was_edited(result)
    assert onnx.numpy_helper.to_array(after.graph.initializer[1]).shape[0] < 24
