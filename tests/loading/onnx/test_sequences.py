"""Sequences of tensors, between two layers whose channels are cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.errors import LoadError
from graphprune.loading.onnx.operators import Node
from graphprune.loading.onnx.sequences import Tensors, at
from graphprune.loading.onnx.values import known
from tests.onnx_masks import cut_and_edited

pytestmark = pytest.mark.onnx

Call = tuple[str, str, str]


def call(kind: str, inputs: str, output: str, **more: int) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **more)


NUMBERS = {"zero": 0, "one": 1, "last": -1, "five": 5, "six": 6}
CASES: dict[str, tuple[list[onnx.NodeProto], int]] = {
    "equal-parts": (
        [call("SplitToSequence", "a six", "s", axis=1), call("SequenceAt", "s zero", "p"),
         call("SequenceAt", "s last", "q"), call("Mul", "p q", "b")], 6),
    "a-smaller-last-part": (
        [call("SplitToSequence", "a five", "s", axis=1), call("SequenceAt", "s last", "p"),
         call("SequenceAt", "s zero", "q"), call("Concat", "p q", "b", axis=1)], 7),
    "parts-of-given-sizes": (
        [call("SplitToSequence", "a sizes", "s", axis=1), call("ConcatFromSequence", "s", "b", axis=1)], 12),
    "single-rows": (
        [call("SplitToSequence", "a", "s", axis=2, keepdims=0), call("ConcatFromSequence", "s", "b", axis=2, new_axis=1)], 12),
    "made-of-values": (
        [call("Relu", "a", "r"), call("SequenceConstruct", "a r", "s"), call("ConcatFromSequence", "s", "b", axis=1)], 24),
    "filled": (
        [call("SequenceEmpty", "", "e"), call("SequenceInsert", "e a", "f"), call("Neg", "a", "n"),
         call("SequenceInsert", "f n zero", "g"), call("SequenceInsert", "g x last", "h"), call("SequenceErase", "h one", "s"),
         call("SequenceErase", "s", "t"), call("SequenceInsert", "t a", "u"), call("SequenceLength", "u", "c"),
         call("Cast", "c", "d", to=TensorProto.FLOAT), call("ConcatFromSequence", "u", "v", axis=1),
         call("Mul", "v d", "b")], 24),
}  # fmt: skip


def model(nodes: list[onnx.NodeProto], width: int) -> onnx.ModelProto:
    draw = np.random.default_rng(0)
    stored = {
        "w1": draw.normal(size=(12, 3, 3, 3)).astype(np.float32),
        "w2": draw.normal(size=(2, width, 1, 1)).astype(np.float32),
        "sizes": np.array([3, 7, 2]),
        **{name: np.array(number) for name, number in NUMBERS.items()},
    }
    made = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        *nodes,
        helper.make_node("Conv", ["b", "w2"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    x, y = (value(n, TensorProto.FLOAT, ["N", c, 4, 4]) for n, c in (("x", 3), ("y", 2)))
    tensors = [numpy_helper.from_array(v, k) for k, v in stored.items()]
    graph = helper.make_graph(made, "net", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_cut_and_edited(case: str, tmp_path: Path) -> None:
    before = model(*CASES[case])
    after = cut_and_edited(before, tmp_path, flops=0.6)
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]


NODE = Node("SequenceAt", "take", ("s", "i"), ("y",), {}, 17)
BAD: dict[str, Callable[[], object]] = {
    "no-sequence": lambda: at(NODE, known([1, 2]), known(0)),
    "beyond": lambda: at(NODE, Tensors((known(1),)), known(2)),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_such_value_is_refused(case: str) -> None:
    with pytest.raises(LoadError, match="take"):
        BAD[case]()
