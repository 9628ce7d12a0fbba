"""Sparse tensors in a file are read as dense ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from graphprune.errors import LoadError
from graphprune.loading.onnx.read_graph import read_graph
from graphprune.loading.onnx.sparse_weights import with_dense_weights
from tests.export.edit_onnx.helpers import compressed, was_edited
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx

FIRST = np.where(np.arange(48).reshape(3, 16) % 3 == 1, 0, np.sin(np.arange(48).reshape(3, 16)))
SECOND = np.where(np.arange(64).reshape(16, 4) % 2 == 1, 0, np.cos(np.arange(64).reshape(16, 4)))


def sparse(array: np.ndarray, name: str, *, flat: bool) -> onnx.SparseTensorProto:
    """The entries of an array that aren't 0, by one number each or by one for each axis."""
    values = numpy_helper.from_array(array[array != 0].astype(np.float32), name)
    places = np.flatnonzero(array) if flat else np.argwhere(array)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(places), array.shape)


def model(*, flat: bool) -> onnx.ModelProto:
    """Two layers, whose weights an initialiser and a constant hold."""
    made = chain(
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Constant", [], ["b"], sparse_value=sparse(SECOND, "", flat=flat)),
        helper.make_node("MatMul", ["h", "b"], ["y"]),
    )
    made.graph.sparse_initializer.append(sparse(FIRST, "a", flat=flat))
    return made


@pytest.mark.parametrize("flat", [True, False])
def test_they_are_what_they_were(*, flat: bool, tmp_path: Path) -> None:
    graph = read_graph(saved(model(flat=flat), tmp_path))
    assert np.array_equal(graph.weights["a"], FIRST.astype(np.float32))
    (constant,) = (node for node in graph.nodes if node.operator == "Constant")
    assert np.array_equal(constant.attributes["value"], SECOND.astype(np.float32))


def test_the_network_is_cut(tmp_path: Path) -> None:
    result, after = compressed(saved(model(flat=True), tmp_path), flops=0.5)
    assert was_edited(result), result.report.notes
    assert result.report.after.macs <= result.report.before.macs / 2
    assert not after.graph.sparse_initializer


def test_one_in_a_body_is_dense_too() -> None:
    branch = helper.make_graph([], "branch", [], [])
    branch.sparse_initializer.append(sparse(FIRST, "a", flat=True))
    made = chain(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    with_dense_weights(made)
    bodies = [attribute.g for attribute in made.graph.node[0].attribute]
    assert [[t.name for t in body.initializer] for body in bodies] == [["a"], ["a"]]


def test_one_in_a_body_of_a_function_is_dense_too() -> None:
    branch = helper.make_graph([], "branch", [], [])
    branch.sparse_initializer.append(sparse(FIRST, "a", flat=True))
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    made = chain(helper.make_node("F", ["x"], ["y"], domain="local"))
    opsets = [helper.make_opsetid("", 18)]
    made.functions.append(helper.make_function("local", "F", ["x"], ["y"], [node], opsets))
    with_dense_weights(made)
    bodies = [attribute.g for attribute in made.functions[0].node[0].attribute]
    assert [[t.name for t in body.initializer] for body in bodies] == [["a"], ["a"]]


@pytest.mark.parametrize("kind", ["huge", "beyond"])
def test_what_is_none_is_refused(kind: str) -> None:
    made = model(flat=True)
    tensor = made.graph.sparse_initializer[0]
    tensor.dims[0] = 1 << 40 if kind == "huge" else 1
    with pytest.raises(LoadError, match="sparse tensor 'a'"):
        with_dense_weights(made)
