"""ONNX files without some of their outputs, by what onnxruntime computes of the whole file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from graphprune.errors import OptionError
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.trace import trace
from graphprune.loading.onnx import import_onnx
from graphprune.loading.onnx.keep_outputs import keep_outputs
from tests.ir.test_keep_outputs import CASES
from tests.loading.onnx.helpers import saved

pytestmark = pytest.mark.onnx


def with_body() -> onnx.ModelProto:
    """Two outputs, one of which an If makes that reads a tensor of the graph in its bodies alone."""
    value = helper.make_tensor_value_info
    one = numpy_helper.from_array(np.ones(3, np.float32), "inside")
    other = numpy_helper.from_array(np.full(3, 2, np.float32), "outside")
    bodies = [
        helper.make_graph(
            [helper.make_node(operator, ["x", "inside"], [f"{operator}_y"])],
            operator,
            [],
            [value(f"{operator}_y", TensorProto.FLOAT, [2, 3])],
        )
        for operator in ("Add", "Mul")
    ]
    nodes = [
        helper.make_node("If", ["flag"], ["a"], then_branch=bodies[0], else_branch=bodies[1]),
        helper.make_node("Sub", ["x", "outside"], ["b"]),
    ]
    flag = numpy_helper.from_array(np.array(True), "flag")
    ends = [value(name, TensorProto.FLOAT, [2, 3]) for name in ("a", "b")]
    graph = helper.make_graph(
        nodes, "two", [value("x", TensorProto.FLOAT, [2, 3])], ends, [one, other, flag]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def exported(case: int) -> onnx.ModelProto:
    net, inputs = CASES[case]
    program = trace(net.eval(), inputs)
    return to_onnx(
        program,
        input_names=["x"],
        output_names=[f"out{n}" for n in range(len(program.graph_signature.user_outputs))],
    )


@pytest.mark.parametrize(("kept", "stored"), [("a", {"inside", "flag"}), ("b", {"outside"})])
def test_tensors_that_bodies_read_stay(kept: str, stored: set[str]) -> None:
    model = with_body()
    whole = onnxruntime.InferenceSession(model.SerializeToString())
    (left_out,) = keep_outputs(model, [kept])
    assert {left_out, kept} == {"a", "b"}
    onnx.checker.check_model(model)
    assert {tensor.name for tensor in model.graph.initializer} == stored
    feed = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    small = onnxruntime.InferenceSession(model.SerializeToString())
    assert np.array_equal(small.run(None, feed)[0], whole.run([kept], feed)[0])


@pytest.mark.parametrize(("case", "kept"), [(0, "out0"), (0, "out1"), (2, "out0"), (2, "out1")])
def test_the_program_of_some_outputs_is_the_file_s(case: int, kept: str, tmp_path: Path) -> None:
    model = exported(case)
    imported = import_onnx(saved(model, tmp_path), outputs=[kept])
    assert imported.file.names.outputs == (kept,)
    assert "outputs left out" in imported.file.notes[0]
    assert len(imported.program.state_dict) < len(
        import_onnx(tmp_path / "model.onnx").program.state_dict
    )
    x = CASES[case][1][0]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run([kept], {"x": x.numpy()})
    got = imported.program.module()(x)
    got = got[0] if isinstance(got, tuple | list) else got
    assert torch.allclose(got, torch.from_numpy(expected), atol=1e-4)


def test_an_unknown_output_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as problem:
        import_onnx(saved(with_body(), tmp_path), outputs=["c"])
    assert "a, b" in str(problem.value.hint)
