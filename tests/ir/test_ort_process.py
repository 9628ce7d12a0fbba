"""Models that run in a process of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphprune.errors import LoadError
from graphprune.ir import ort_process
from graphprune.ir.ort_process import OrtProcess
from tests.ir.test_ort import endless
from tests.loading.onnx.helpers import chain, relu

pytestmark = pytest.mark.onnx

X = np.array([[-1, 2, 3], [4, -5, 6]], np.float32)


def backwards(operator: str = "Relu") -> onnx.ModelProto:
    """A model that scans its input from the end, which kills onnxruntime where there is nothing."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node(operator, ["v"], ["w"])],
        "body",
        [value("v", TensorProto.FLOAT, None)],
        [value("w", TensorProto.FLOAT, None)],
    )
    scan = helper.make_node(
        "Scan",
        ["x"],
        ["y"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_input_directions=[1],
        scan_output_axes=[1],
        scan_output_directions=[1],
    )
    return chain(scan, dims=("n", "m"))


@pytest.fixture
def process() -> Any:
    process = OrtProcess()
    yield process
    process.close()


def test_one_process_runs_many_models(process: OrtProcess) -> None:
    for model, expected in ((relu(), np.maximum(X, 0)), (backwards("Neg"), -X)):
        (y,) = process.run(model.SerializeToString(), {"x": X})
        np.testing.assert_array_equal(y, expected)
        assert y.dtype == np.float32
    assert process._process
    process.close()
    process.close()
    (y,) = process.run(relu().SerializeToString(), {"x": X})
    assert y.shape == X.shape


def test_scalars_and_more_results(process: OrtProcess) -> None:
    graph = helper.make_graph(
        [helper.make_node("Size", ["x"], ["n"]), helper.make_node("Shape", ["x"], ["s"])],
        "sizes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in "ns"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    n, s = process.run(model.SerializeToString(), {"x": X})
    assert n.shape == ()
    assert (int(n), s.tolist()) == (6, [2, 3])


@pytest.mark.parametrize("operator", ["Relu", "Neg", "Identity"])
def test_what_ends_the_process_is_an_error(process: OrtProcess, operator: str) -> None:
    nothing = np.zeros((0, 2), np.float32)
    with pytest.raises(LoadError, match="it ends the process"):
        process.run(backwards(operator).SerializeToString(), {"x": nothing})
    (y,) = process.run(relu().SerializeToString(), {"x": X})  # in a new one
    assert y.shape == X.shape


def test_other_errors_are_told(process: OrtProcess) -> None:
    unknown = chain(helper.make_node("Mine", ["x"], ["y"]))
    with pytest.raises(LoadError, match="onnxruntime can't run it"):
        process.run(unknown.SerializeToString(), {"x": X})
    with pytest.raises(LoadError, match="onnxruntime can't run it"):
        process.run(relu().SerializeToString(), {"x": np.float32(1).reshape(())})


@pytest.mark.parametrize(
    "made",
    [
        helper.make_node("SplitToSequence", ["x"], ["y"]),
        helper.make_node("Optional", ["x"], ["y"]),
        helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING),
    ],
    ids=lambda node: node.op_type,
)
def test_only_tensors_of_numbers_come_back(process: OrtProcess, made: onnx.NodeProto) -> None:
    model = chain(made)
    model.graph.output[0].Clear()
    model.graph.output[0].name = "y"
    with pytest.raises(LoadError, match="no tensors of numbers"):
        process.run(model.SerializeToString(), {"x": X})


def test_a_process_that_does_not_answer_is_ended(
    process: OrtProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_process, "SECONDS", -9)
    with pytest.raises(LoadError, match="signal 9"):
        process.run(
            endless().SerializeToString(), {"x": np.ones(1, np.float32), "yes": np.array(True)}
        )


def gathered(batch: int) -> onnx.ModelProto:
    """Rows by their numbers; onnx's inference of shapes dies of a negative number of leading axes."""
    number = helper.make_node("Constant", [], ["i"], value_ints=[1])
    return chain(number, helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch))


def test_what_ends_the_inference_of_shapes_is_an_error(process: OrtProcess) -> None:
    (y,) = process.run(gathered(0).SerializeToString(), {"x": X})
    np.testing.assert_array_equal(y, X[1])
    for batch in (-2, -3):
        with pytest.raises(LoadError):
            process.run(gathered(batch).SerializeToString(), {"x": X})


def test_a_result_that_is_too_large_is_not_made(process: OrtProcess) -> None:
    model = chain(helper.make_node("Tile", ["x", "n"], ["y"]))
    n = helper.make_tensor_value_info("n", TensorProto.INT64, None)
    del model.graph.input[0].type.tensor_type.shape.dim[:]
    model.graph.input.append(n)
    data = model.SerializeToString()
    (y,) = process.run(data, {"x": X, "n": np.array([2, 1])}, 12)
    assert y.shape == (4, 3)
    for most, times in ((11, [2, 1]), (1 << 28, [1 << 20, 1 << 20])):
        with pytest.raises(LoadError, match="a result has"):
            process.run(data, {"x": X, "n": np.array(times)}, most)
