"""Nodes that no edit can write a cut into: they keep their rows, where the file can't be exported anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.analysis.frozen import frozen
from graphprune.export.ort_session import session
from graphprune.ir.either import swaps
from graphprune.ir.program import unlift
from graphprune.loading import load
from tests.export.edit_onnx.helpers import was_edited
from tests.onnx_masks import with_zeros

pytestmark = pytest.mark.onnx

SIZES = {
    "a": (8, 24), "b": (24, 20), "c": (20, 4), "t1": (20, 16), "t2": (16, 20), "e1": (20, 12), "e2": (12, 20),
}  # fmt: skip


def branch(prefix: str, *, mean: bool, inner: onnx.NodeProto | None = None) -> onnx.GraphProto:
    """``b -> product, ReLU, product``; a mean over what lies between would need a factor within the body."""
    made = [f"{prefix}_{i}" for i in range(5)]
    node = helper.make_node
    nodes = [node("MatMul", ["rb", f"{prefix}1"], [made[0]]), node("Relu", [made[0]], [made[1]])]
    read = made[1]
    if mean:
        nodes += [
            node("ReduceMean", [read, "last"], [made[2]], name=f"mean-{prefix}"),
            node("Add", [read, made[2]], [made[3]]),
        ]
        read = made[3]
    nodes.append(node("MatMul", [read, f"{prefix}2"], [made[4]]))
    if inner is not None:
        nodes.append(inner)
    result = inner.output[0] if inner is not None else made[4]
    return helper.make_graph(
        nodes, prefix, [], [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)]
    )


def choice(then: onnx.GraphProto, other: onnx.GraphProto, flag: str, name: str) -> onnx.NodeProto:
    bodies = {"then_branch": then, "else_branch": other}
    return helper.make_node("If", [flag], [name], name=name, **bodies)


def net(kind: str) -> onnx.ModelProto:
    """``x [N, 8] -> y [N, 4]``: two layers, a choice between two branches of two layers, and a layer."""
    node, rng = helper.make_node, np.random.default_rng(0)
    stored: dict[str, Any] = {
        name: (rng.normal(size=s) * np.exp(rng.normal(size=s[1])) / 4).astype(np.float32)
        for name, s in SIZES.items()
    }
    stored["last"] = np.array([-1])
    flags = ["flag"]
    then, other = branch("t", mean=True), branch("e", mean=kind == "both")
    if kind == "nested":
        flags.append("inner_flag")
        parts = []
        for name in ("u", "v"):
            stored |= {f"{name}1": stored["t1"] * (1 + len(parts)), f"{name}2": stored["t2"]}
            parts.append(branch(name, mean=name == "u"))
        inner = choice(parts[0], parts[1], "inner_flag", "inner")
        then = branch("t", mean=False, inner=inner)
    nodes = [
        node("MatMul", ["x", "a"], ["ha"]), node("Relu", ["ha"], ["ra"]),
        node("MatMul", ["ra", "b"], ["hb"]), node("Relu", ["hb"], ["rb"]),
        choice(then, other, "flag", "q"), node("MatMul", ["q", "c"], ["y"]),
    ]  # fmt: skip
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "choices",
        [value("x", TensorProto.FLOAT, ["N", 8]), *(value(f, TensorProto.BOOL, []) for f in flags)],
        [value("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("one", {"mean-t"}), ("both", {"mean-t", "mean-e"}), ("nested", {"mean-u"})],
)
def test_what_the_file_cannot_say_stays_and_the_rest_is_cut(
    kind: str, kept: set[str], tmp_path: Path
) -> None:
    before = net(kind)
    onnx.save(before, tmp_path / "net.onnx")
    flags = [value.name for value in before.graph.input[1:]]
    x = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x, **{name: np.array(True) for name in flags})
    found = load(tmp_path / "net.onnx", inputs=[str(tmp_path / "in.npz")])
    assert found.onnx_file
    assert not found.onnx_file.whole
    assert len(swaps(unlift(found.program).graph)) == (3 if kind == "nested" else 1)
    assert {*found.onnx_file.kept} == {f"ReduceMean node '{name}'" for name in kept}
    reasons = {each.reason for each in frozen(gp.inspect(found.dense))}
    assert {f"ReduceMean node '{n}' has no form for fewer rows" for n in kept} <= reasons
    result = gp.compress(found.dense, flops=0.7, score="random").from_file(found.onnx_file)
    result = result.export_onnx(tmp_path / "small.onnx")
    assert was_edited(result), result.report.notes
    assert any("keep all rows" in note for note in result.report.notes)
    after = onnx.load(tmp_path / "small.onnx")
    left = {t.name: t.dims for t in after.graph.initializer}
    assert left["b"][1] < SIZES["b"][1]
    for prefix in {name[-1] for name in kept}:
        assert left[f"{prefix}1"][1] == len(numpy_helper.to_array(_stored(before, f"{prefix}2")))
    dense = onnx.ModelProto.FromString(found.onnx_file.data)
    pair = [
        session(m.SerializeToString())
        for m in (with_zeros(dense, found.onnx_file, result.cut), after)
    ]
    for number in range(2 ** len(flags)):
        chosen = {name: np.array(bool(number >> i & 1)) for i, name in enumerate(flags)}
        expected, got = (each.run(None, {"x": x} | chosen)[0] for each in pair)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def _stored(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def test_files_that_can_be_exported_anew_are_not_tried(tmp_path: Path) -> None:
    before = net("one")
    flag = numpy_helper.from_array(np.array(True), "flag")
    del before.graph.input[1]
    before.graph.initializer.append(flag)
    onnx.save(before, tmp_path / "net.onnx")
    found = load(tmp_path / "net.onnx")
    assert found.onnx_file
    assert not found.onnx_file.kept
    assert not found.onnx_file.choices
