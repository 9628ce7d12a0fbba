"""Sizes are changed where they are stored, results are multiplied, and what is unread is dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from graphprune.export.edit_onnx.editor import Editor

from .helpers import model, reshapes

pytestmark = pytest.mark.onnx


def constant(name: str, **value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], **value)


@pytest.mark.parametrize(
    "holder",
    [
        constant("shape", value=numpy_helper.from_array(np.array([-1, 3, 2]))),
        constant("shape", value_ints=[-1, 3, 2]),
    ],
    ids=["tensor", "ints"],
)
def test_numbers_in_constant_nodes(holder: onnx.NodeProto) -> None:
    editor = Editor(model(holder, reshapes()[0]), {})
    node = editor.graph.node[1]
    assert editor.numbers("shape").tolist() == [-1, 3, 2]  # type: ignore[union-attr]
    editor.put_entries(node, 1, {0: 7, 1: 2}, keep=(-1,))
    assert editor.numbers(node.input[1]).tolist() == [-1, 2, 2]  # type: ignore[union-attr]
    assert node.input[1] == "shape"


def computed() -> list[onnx.NodeProto]:
    """A shape of the batch and two stored numbers, one of them alone."""
    return [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["three", "zero"], ["c"]),
        helper.make_node("Concat", ["n", "c", "two"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]


STORED = {"zero": np.array([0]), "three": np.array(3), "two": np.array([2])}


def test_the_parts_of_a_computed_list_are_found() -> None:
    editor = Editor(model(*computed(), **STORED), {"n": 1, "c": 1})
    editor.put_entries(editor.graph.node[4], 1, {1: 2}, whole=[-1, 2, 2])
    assert editor.numbers("three") == np.array(2)
    assert editor.graph.node[4].input[1] == "shape"


def test_a_list_is_stored_whole_where_that_is_asked_for() -> None:
    editor = Editor(model(*computed(), **STORED), {}, pinned=True)
    node = editor.graph.node[4]
    editor.put_entries(node, 1, {1: 2}, whole=[-1, 2, 2])
    assert editor.numbers(node.input[1]).tolist() == [-1, 2, 2]  # type: ignore[union-attr]
    editor.drop_unread()
    assert [n.op_type for n in editor.graph.node] == ["Reshape"]
    assert [t.name for t in editor.graph.initializer] == [node.input[1]]


def test_what_nobody_reads_any_more_is_dropped() -> None:
    editor = Editor(model(*reshapes(), shape=np.array([-1, 3, 2])), {})
    for node in editor.graph.node:
        editor.put(node, 1, np.array([-1, 2, 2]))
    editor.drop_unread()
    stored = {t.name: numpy_helper.to_array(t).tolist() for t in editor.graph.initializer}
    assert list(stored.values()) == [[-1, 2, 2], [-1, 2, 2]]


def test_what_was_never_read_stays() -> None:
    editor = Editor(model(*reshapes(), shape=np.array([-1, 6]), spare=np.ones(2)), {})
    editor.put(editor.graph.node[0], 1, np.array([6, -1]))
    editor.drop_unread()
    assert "spare" in {t.name for t in editor.graph.initializer}


def test_a_result_is_multiplied_under_its_own_name() -> None:
    editor = Editor(model(*reshapes(), shape=np.array([-1, 6])), {})
    editor.multiply(editor.graph.node[0], np.float32(0.5).reshape(()))
    kinds = [(n.op_type, list(n.output)) for n in editor.graph.node]
    assert kinds == [("Reshape", ["a/unscaled"]), ("Mul", ["a"]), ("Reshape", ["y"])]


@pytest.mark.parametrize(
    ("nodes", "version", "kinds"),
    [
        ([], 8, ["Reshape"]),
        ([], 3, ["Constant", "Reshape"]),
        ([constant("other", value_ints=[1])], 8, ["Constant", "Constant", "Reshape"]),
    ],
    ids=["initialisers", "old format", "constants"],
)
def test_a_stored_result_is_held_as_the_file_holds_its_tensors(
    nodes: list[onnx.NodeProto], version: int, kinds: list[str]
) -> None:
    whole = model(*nodes, *reshapes(), shape=np.array([-1, 6]))
    whole.ir_version = version
    editor = Editor(whole, {})
    first = editor.graph.node[len(nodes)]
    name = first.output[0]
    editor.replace_by_tensor(first, torch.ones(2, 6))
    editor.hold_results()
    assert [node.op_type for node in editor.graph.node] == kinds
    held = {t.name for t in editor.graph.initializer}
    assert (name in held) == (kinds == ["Reshape"])


def test_a_stored_result_that_the_model_gives_stays_a_node() -> None:
    editor = Editor(model(*reshapes(), shape=np.array([-1, 6])), {})
    editor.replace_by_tensor(editor.graph.node[1], torch.ones(2, 6))
    editor.hold_results()
    assert [node.op_type for node in editor.graph.node] == ["Reshape", "Constant"]
