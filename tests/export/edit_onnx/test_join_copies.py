"""Equal copies of a stored tensor are stored once again."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from graphprune.export.edit_onnx.join_copies import join_copies

from .helpers import model

pytestmark = pytest.mark.onnx


def test_equal_copies_become_one_and_others_stay() -> None:
    one, two = np.ones(3, np.float32), np.full(2, 2, np.float32)
    graph = model(
        *(
            helper.make_node("Add", ["x", name], [f"y{name}"])
            for name in ("v", "v/0", "v/1", "v/2")
        ),
        **{"v": one, "v/0": two, "v/1": one, "v/2": two, "w": one},
    ).graph
    join_copies(graph, {"v/0": "v", "v/1": "v", "v/2": "v", "gone": "v"})
    assert [t.name for t in graph.initializer] == ["v", "v/0", "w"]
    assert [node.input[1] for node in graph.node] == ["v", "v/0", "v", "v/0"]


def test_copies_whose_tensor_is_gone_are_joined_too() -> None:
    one = np.ones(3, np.float32)
    nodes = [helper.make_node("Add", ["x", name], [f"y{name}"]) for name in ("v/0", "v/1")]
    graph = model(*nodes, **{"v/0": one, "v/1": one}).graph
    join_copies(graph, {"v/0": "v", "v/1": "v"})
    assert [t.name for t in graph.initializer] == ["v/0"]
