"""Ranges of a slice: attributes or inputs, stored or computed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.edit_onnx.editor import Editor
from graphprune.export.edit_onnx.ranges import Ranges
from graphprune.export.edit_onnx.stored_numbers import EditError

pytestmark = pytest.mark.onnx

NEW = {"dim": 1, "start": 1, "end": 5, "step": 1}


def editor(node: str, opset: int, *, pinned: bool = False, **stored: list[int]) -> Editor:
    made = {
        "attributes": helper.make_node(
            "Slice", ["x"], ["y"], starts=[2, 0], ends=[9, 3], axes=[1, 3]
        ),
        "inputs": helper.make_node("Slice", ["x", *stored], ["y"]),
    }[node]
    graph = helper.make_graph(
        [made],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(v, np.int32), k) for k, v in stored.items() if v],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return Editor(model, {}, pinned=pinned)


def test_attributes() -> None:
    made = editor("attributes", 9)
    node = made.graph.node[0]
    ranges = Ranges.of(made, node, 4)
    assert (ranges.count, ranges.starts, ranges.axes) == (2, (2, 0), (1, 3))
    ranges.replaced(NEW, pinned=False).write(made, node)
    assert [made.attribute(node, name) for name in ("starts", "ends")] == [[1, 0], [5, 3]]
    assert made.attribute(node, "steps") is None


def test_inputs_keep_their_type_and_steps_are_added_where_there_are_some() -> None:
    made = editor("inputs", 13, starts=[2], ends=[9], axes=[-3])
    node = made.graph.node[0]
    Ranges.of(made, node, 4).replaced(NEW | {"step": 2}, pinned=False).write(made, node)
    numbers = [made.numbers(name) for name in node.input[1:]]
    assert [n.tolist() for n in numbers if n is not None] == [[1], [5], [-3], [2]]
    assert {str(n.dtype) for n in numbers if n is not None} == {"int32"}


@pytest.mark.parametrize("pinned", [False, True])
def test_computed_bounds_stay_unless_they_are_pinned(pinned: bool) -> None:
    made = editor("inputs", 13, pinned=pinned, starts=[2], ends=[], axes=[1])
    node = made.graph.node[0]
    Ranges.of(made, node, 4).replaced(NEW, pinned=pinned).write(made, node)
    ends = made.numbers(node.input[2])
    assert (None if ends is None else ends.tolist()) == ([5] if pinned else None)
    starts = made.numbers(node.input[1])
    assert starts is not None
    assert starts.tolist() == [1]


def test_a_single_range_on_a_computed_axis_is_the_one_that_changes() -> None:
    made = editor("inputs", 13, starts=[2], ends=[9], axes=[])
    node = made.graph.node[0]
    Ranges.of(made, node, 4).replaced(NEW, pinned=False).write(made, node)
    numbers = [made.numbers(name) for name in node.input[1:3]]
    assert [n.tolist() for n in numbers if n is not None] == [[1], [5]]


def test_one_of_several_ranges_on_computed_axes_is_refused() -> None:
    made = editor("inputs", 13, starts=[2, 0], ends=[9, 3], axes=[])
    ranges = Ranges.of(made, made.graph.node[0], 4)
    with pytest.raises(EditError, match="one of several ranges"):
        ranges.replaced(NEW | {"dim": 2}, pinned=False)
