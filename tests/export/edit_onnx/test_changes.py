"""What a cut makes of a call is told in the numbers that an ONNX node states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx

from graphprune.cut.rewrite_graph import NewCall
from graphprune.export.edit_onnx.changes import Change
from graphprune.export.edit_onnx.stored_numbers import EditError

aten = torch.ops.aten


def change(target: Any, *args: Any, changed: bool = True, **new: Any) -> Change:
    """A call of an operator on ``x``, of which the cut changes some arguments."""
    graph = fx.Graph()
    node = graph.call_function(target, (graph.placeholder("x"), *args))
    names = [a.name for a in target._schema.arguments]
    before = dict(zip(names, node.args, strict=False))
    return Change(node, NewCall(target, before | new, {}, changed), (4, 12), (4, 6))


def test_the_numbers_that_change_in_a_list() -> None:
    view = change(aten.view.default, [4, 3, 4], size=[4, 3, 2])
    assert view.entries("size") == {2: 2}
    assert view.whole("size") == [4, 3, 2]
    assert view.whole("dims") is None
    assert view.of_sizes


def test_a_size_of_the_input_is_what_is_left() -> None:
    graph = fx.Graph()
    rows = [graph.placeholder(name) for name in ("n", "m")]
    view = change(aten.view.default, [rows[0], 12], size=[rows[0], 6])
    assert view.entries("size") == {1: 6}
    assert view.whole("size") == [-1, 6]
    assert change(aten.view.default, [*rows, 12], size=[*rows, 6]).whole("size") is None


def test_a_change_of_more_than_sizes() -> None:
    assert not change(aten.slice.Tensor, 1, 0, 12, end=6).of_sizes
    assert change(aten.relu.default, changed=False).of_sizes


def test_a_call_without_the_list_may_not_change() -> None:
    assert change(aten.relu.default, changed=False).entries("size") == {}
    with pytest.raises(EditError, match=r"computed by aten\.slice\.Tensor, which changes"):
        change(aten.slice.Tensor, 1, 0, 12, end=6).entries("size")
