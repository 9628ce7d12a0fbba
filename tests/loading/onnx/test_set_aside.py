"""Outputs that no program has: text, maps, sequences, and what depends on no input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.loading import load
from graphprune.loading.onnx.set_aside import set_aside
from graphprune.workflow.compare_files import compare
from tests.export.edit_onnx.helpers import compressed, was_edited

pytestmark = pytest.mark.onnx

node = helper.make_node
INT, TEXT, FLOAT = TensorProto.INT64, TensorProto.STRING, TensorProto.FLOAT
ML = "ai.onnx.ml"
NAMES = ["ant", "bee", "cat", "dog"]


def info(name: str, kind: int, *sizes: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, sizes)


def sequence(name: str, kind: onnx.TypeProto) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, helper.make_sequence_type_proto(kind))


PROBABILITIES = info("p", FLOAT, "N", 4)
TAILS = {
    "map": (
        [node("ZipMap", ["p"], ["z"], domain=ML, classlabels_strings=NAMES)],
        [sequence("z", helper.make_map_type_proto(TEXT, helper.make_tensor_type_proto(FLOAT, None)))],
        1,
    ),
    "label": (
        [node("ArgMax", ["p"], ["n"], axis=1, keepdims=0),
         node("LabelEncoder", ["n"], ["t"], domain=ML, keys_int64s=[0, 1, 2, 3], values_strings=NAMES),
         node("Identity", ["t"], ["label"])],
        [info("label", TEXT, "N")],
        2,
    ),
    "stored text": (
        [node("ArgMax", ["p"], ["n"], axis=1, keepdims=0),
         node("ArrayFeatureExtractor", ["names", "n"], ["t"], domain=ML),
         node("Reshape", ["t", "flat"], ["label"])],
        [info("label", TEXT, "N")],
        2,
    ),
    "gathered text": (
        [node("ArgMax", ["p"], ["n"], axis=1, keepdims=0), node("Gather", ["names", "n"], ["label"])],
        [info("label", TEXT, "N")],
        1,
    ),
    "sequence": (
        [node("SplitToSequence", ["p"], ["s"], axis=1)],
        [sequence("s", helper.make_tensor_type_proto(FLOAT, None))],
        1,
    ),
    "constant": (
        [node("Constant", [], ["a"], value=numpy_helper.from_array(np.ones(3, np.float32))),
         node("Neg", ["a"], ["anchors"])],
        [info("anchors", FLOAT, 3)],
        0,
    ),
}  # fmt: skip


def classifier(tail: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """``x [N, 6]`` through a hidden layer to four probabilities, which are the second output."""
    rng = np.random.default_rng(0)
    sizes = {"w1": (6, 16), "b1": (16,), "w2": (16, 4)}
    made = [
        node("MatMul", ["x", "w1"], ["h"]), node("Add", ["h", "b1"], ["i"]), node("Relu", ["i"], ["r"]),
        node("MatMul", ["r", "w2"], ["q"]), node("Softmax", ["q"], ["p"], axis=1), *tail,
    ]  # fmt: skip
    stored = [numpy_helper.from_array(rng.normal(size=v).astype("f4"), k) for k, v in sizes.items()]
    others = {"names": np.array(NAMES, object), "flat": np.array([-1])}
    read = {name for each in tail for name in each.input}
    stored += [numpy_helper.from_array(v, k) for k, v in others.items() if k in read]
    graph = helper.make_graph(made, "g", [info("x", FLOAT, "N", 6)], outputs, stored)
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid(ML, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("alone", [False, True], ids=["beside", "first"])
@pytest.mark.parametrize("kind", TAILS)
def test_the_network_before_it_is_cut(kind: str, alone: bool, tmp_path: Path) -> None:
    tail, outputs, _ = TAILS[kind]
    listed = [*outputs, PROBABILITIES] if alone else [PROBABILITIES, *outputs]
    before = classifier(tail, listed)
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert result.onnx_file
    assert result.onnx_file.aside
    assert result.onnx_file.aside.names == (outputs[0].name,)
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert after.graph.output == before.graph.output
    assert {t.name for t in after.graph.initializer} == {t.name for t in before.graph.initializer}
    assert after.opset_import == before.opset_import
    runner = onnxruntime.InferenceSession(after.SerializeToString())
    found = runner.run(None, {"x": np.ones((3, 6), np.float32)})
    assert len(found) == 2
    dense = load(tmp_path / "model.onnx")
    checked = compare(dense.program, (), tmp_path / "out.onnx", result.plan)
    assert checked.ok, checked.files


@pytest.mark.parametrize("kinds", [("map",), ("stored text", "map")], ids=" and ".join)
def test_a_network_that_gives_nothing_else_is_cut(kinds: tuple[str, ...], tmp_path: Path) -> None:
    """What goes to these outputs, such as probabilities and the number of a class, is compared."""
    tail = [each for kind in kinds for each in TAILS[kind][0]]
    before = classifier(tail, [value for kind in kinds for value in TAILS[kind][1]])
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert after.graph.output == before.graph.output
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    runner = onnxruntime.InferenceSession(after.SerializeToString())
    assert len(runner.run(None, {"x": np.ones((3, 6), np.float32)})) == len(kinds)


@pytest.mark.parametrize("kind", TAILS)
def test_an_export_has_them_too(kind: str, tmp_path: Path) -> None:
    tail, outputs, _ = TAILS[kind]
    before = classifier(tail, [PROBABILITIES, *outputs])
    onnx.save(before, tmp_path / "model.onnx")
    found = load(tmp_path / "model.onnx")
    assert found.onnx_file
    result = gp.compress(found.dense, flops=0.5, score="random").from_file(found.onnx_file)
    result.export_onnx(tmp_path / "out.onnx", opset=18)
    after = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    assert [value.name for value in after.get_outputs()] == ["p", outputs[0].name]
    assert len(after.run(None, {"x": np.ones((3, 6), np.float32)})) == 2


@pytest.mark.parametrize("kind", TAILS)
def test_only_what_makes_it_is_taken_out(kind: str) -> None:
    tail, outputs, taken = TAILS[kind]
    model = classifier(tail, [PROBABILITIES, *outputs])
    count = len(model.graph.node)
    aside = set_aside(model)
    assert aside
    assert len(aside.nodes) == taken
    assert len(model.graph.node) == count - taken
    assert [v.name for v in model.graph.output] == [
        "p",
        *(["n"] if "ArgMax" in {n.op_type for n in tail} else []),
    ]


def test_numbers_stay() -> None:
    tail = [node("ArgMax", ["p"], ["n"], axis=1)]
    assert set_aside(classifier(tail, [PROBABILITIES, info("n", INT, "N", 1)])) is None


def test_a_weight_that_is_an_output_too_is_not_set_aside() -> None:
    """It would shrink, so it is an output of the program, and frozen."""
    model = classifier([node("Identity", ["w2"], ["v"])], [PROBABILITIES, info("v", FLOAT, 16, 4)])
    assert set_aside(model) is None
