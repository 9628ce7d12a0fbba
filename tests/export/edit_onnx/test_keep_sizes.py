"""Graphs that compute with sizes, or give them, keep those of the dense file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import graphprune as gp
from graphprune.export.edit_onnx.keep_sizes import keep_sizes, size_values
from graphprune.export.edit_onnx.stored_numbers import EditError
from graphprune.loading import load
from tests.onnx_masks import masked_difference

from .helpers import was_edited

pytestmark = pytest.mark.onnx


def node(kind: str, *inputs: str, outs: str, **more: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outs.split(), **more)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32) / 3


def model(
    nodes: list[onnx.NodeProto],
    stored: dict[str, np.ndarray],
    dims: list[Any],
    outputs: tuple[tuple[str, int], ...] = (),
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    made = [value(name, kind, None) for name, kind in (("y", TensorProto.FLOAT), *outputs)]
    x = value("x", TensorProto.FLOAT, dims)
    tensors = [numpy_helper.from_array(v, k) for k, v in stored.items()]
    graph = helper.make_graph(nodes, "net", [x], made, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CONVS = {"w1": weight(12, 3, 3, 3), "w2": weight(4, 12, 1, 1), "flat": whole(0, 0, -1)}
IMAGES = ["N", 3, 6, 6]
HIDDEN = [node("Conv", "x", "w1", outs="a"), node("Relu", "a", outs="h")]
PROJECTED = {name: weight(16, 32) for name in "qkv"} | {"o": weight(32, 16)}
TOKENS = ["N", 5, 16]


def _heads(sizes: str) -> list[onnx.NodeProto]:
    """Three projections into heads of these sizes, the keys transposed."""
    found: list[onnx.NodeProto] = []
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        found += [
            node("MatMul", "x", name, outs=f"{name}p"),
            node("Reshape", f"{name}p", sizes, outs=f"{name}r"),
            node("Transpose", f"{name}r", outs=f"{name}h", perm=perm),
        ]
    return found


def _attention(sizes: str) -> list[onnx.NodeProto]:
    """Scores of heads by a scale ``s``, and the output in these sizes."""
    return [
        node("MatMul", "qh", "kh", outs="qk"),
        node("Mul", "qk", "s", outs="scores"),
        node("Softmax", "scores", outs="p", axis=-1),
        node("MatMul", "p", "vh", outs="pv"),
        node("Transpose", "pv", outs="pvt", perm=[0, 2, 1, 3]),
        node("Reshape", "pvt", sizes, outs="joined"),
        node("MatMul", "joined", "o", outs="y"),
    ]


# As torch.onnx without dynamo writes scaled_dot_product_attention.
SCALED = model(
    [
        *_heads("heads"),
        node("Shape", "qh", outs="sizes"),
        node("Slice", "sizes", "last", "beyond", outs="width"),
        node("Cast", "width", outs="f", to=TensorProto.FLOAT),
        node("Sqrt", "f", outs="root"),
        node("Reciprocal", "root", outs="s"),
        *_attention("flat"),
    ],
    PROJECTED
    | {"heads": whole(0, 0, 4, 8), "flat": whole(0, 0, -1), "last": whole(-1), "beyond": whole(2**63 - 1)},
    TOKENS,
)  # fmt: skip
# The width of a head is that of all of them by their number, which is stored.
DIVIDED = model(
    [
        node("MatMul", "x", "q", outs="any"),
        node("Shape", "any", outs="sizes"),
        node("Gather", "sizes", "none", outs="n"),
        node("Gather", "sizes", "one", outs="t"),
        node("Gather", "sizes", "two", outs="all"),
        node("Div", "all", "four", outs="width"),
        node("Concat", "n", "t", "four", "width", outs="heads", axis=0),
        node("Concat", "n", "t", "all", outs="flat", axis=0),
        *_heads("heads"),
        node("Cast", "width", outs="f", to=TensorProto.FLOAT),
        node("Sqrt", "f", outs="root"),
        node("Reciprocal", "root", outs="s"),
        *_attention("flat"),
    ],
    PROJECTED | {"none": whole(0), "one": whole(1), "two": whole(2), "four": whole(4)},
    TOKENS,
)
CASES = {
    "given": model(
        [*HIDDEN, node("Conv", "h", "w2", outs="y"), node("Shape", "h", outs="s")],
        CONVS, IMAGES, (("s", TensorProto.INT64),)),
    "given-and-read": model(
        [*HIDDEN, node("Shape", "h", outs="s"), node("Reshape", "h", "flat", outs="r"),
         node("Reshape", "r", "s", outs="b"), node("Conv", "b", "w2", outs="y"),
         node("Cast", "s", outs="f", to=TensorProto.FLOAT)],
        CONVS, IMAGES, (("s", TensorProto.INT64), ("f", TensorProto.FLOAT))),
    "number-of-elements": model(
        [*HIDDEN, node("Conv", "h", "w2", outs="y"), node("Size", "h", outs="s")],
        CONVS, [2, *IMAGES[1:]], (("s", TensorProto.INT64),)),
    "scale": SCALED,
    "width-of-heads": DIVIDED,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_edited(case: str, tmp_path: Path) -> None:
    file, before = tmp_path / "net.onnx", CASES[case]
    onnx.save(before, file)
    found = load(file)
    result = gp.compress(found.dense, flops=0.6, score="random")
    assert result.report.after.macs < result.report.before.macs
    assert found.onnx_file
    done = result.from_file(found.onnx_file).export_onnx(tmp_path / "small.onnx")
    assert was_edited(done), done.report.notes
    after = onnx.load(tmp_path / "small.onnx")
    kinds = [[n.op_type for n in m.graph.node] for m in (before, after)]
    assert len(kinds[1]) <= len(kinds[0]) + 4
    assert set(kinds[1]) <= {*kinds[0], "Add"}
    assert after.graph.output == before.graph.output
    assert masked_difference(before, after, found.onnx_file, result.cut) < 1e-5


def test_which_sizes_are_computed_with() -> None:
    every = ["sizes", "n", "t", "all", "width", "heads", "flat", "f", "root", "s"]
    assert size_values(DIVIDED, dict.fromkeys(every, 1), {"any"}) == ("sizes", "s")
    nodes = [*HIDDEN, node("Shape", "h", outs="s"), node("Reshape", "h", "s", outs="y")]
    followed = model(nodes, CONVS, IMAGES)
    assert size_values(followed, {"s": 4}, {"h"}) == ()
    assert size_values(followed, {"s": 4}, {"h"}, every=True) == ("s",)
    assert size_values(followed, {"s": 4}, {"a"}, every=True) == ()


def test_what_is_no_difference_is_refused() -> None:
    sizes = [[{"s": np.array(n)} for n in run] for run in ((24, 36), (12, 19))]
    with pytest.raises(EditError, match="number of elements"):
        keep_sizes(CASES["number-of-elements"], {"s": 1}, *sizes)


def test_a_number_of_elements_at_open_sizes(tmp_path: Path) -> None:
    """The share that is left of it makes up for what went, whatever the batch is."""
    nodes = [*HIDDEN, node("Size", "h", outs="s"), node("Conv", "h", "w2", outs="y")]
    before = model(nodes, CONVS, IMAGES, (("s", TensorProto.INT64),))
    onnx.save(before, tmp_path / "net.onnx")
    found = load(tmp_path / "net.onnx")
    result = gp.compress(found.dense, flops=0.5, score="random").from_file(found.onnx_file)
    result = result.export_onnx(tmp_path / "small.onnx")
    assert was_edited(result), result.report.notes
    after = onnx.load(tmp_path / "small.onnx")
    for batch in (1, 3, 5):
        x = np.zeros((batch, 3, 6, 6), np.float32)
        _, size = ReferenceEvaluator(after).run(None, {"x": x})
        assert size == batch * 12 * 4 * 4


def test_another_axis_than_the_one_that_is_cut_changes_nothing() -> None:
    nodes = [
        *HIDDEN,
        node("Shape", "h", outs="s"),
        node("Gather", "s", "two", outs="height"),
        node("Cast", "height", outs="f", to=TensorProto.FLOAT),
        node("Mul", "h", "f", outs="y"),
    ]
    before = model(nodes, CONVS | {"two": whole(2)}, IMAGES)
    after = onnx.ModelProto.FromString(before.SerializeToString())
    sizes = [{"s": whole(2, n, 4, 4), "f": np.float32([4])} for n in (12, 7)]
    keep_sizes(after, dict.fromkeys(("s", "height", "f"), 1), *[[each] for each in sizes])
    assert after == before


def test_sizes_that_stay_change_nothing() -> None:
    before = CASES["given"]
    after = onnx.ModelProto.FromString(before.SerializeToString())
    keep_sizes(after, {"s": 4}, *[[{"s": whole(2, 12, 4, 4)}]] * 2)
    assert after == before
