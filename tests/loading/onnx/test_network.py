"""Networks come back from ONNX as they went."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.ir.nodes import source_line
from graphprune.loading.onnx import import_onnx
from graphprune.models import ALL
from graphprune.models.randomize import randomize_batchnorm
from tests import nets
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


def exported(net: torch.nn.Module, inputs: tuple[Any, ...], file: Path, *, dynamo: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(net, inputs, file, dynamo=True, verbose=False)
        else:
            torch.onnx.export(net, inputs, file, dynamo=False, opset_version=15)


NETS = nets.NETS | nets.HELD


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", NETS)
def test_a_net_comes_back_as_it_went(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = NETS[name]().eval()
    inputs = net.inputs()
    compare(net, inputs, tmp_path / "net.onnx", dynamo=dynamo)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", ALL)
def test_a_model_comes_back_as_it_went(name: str, dynamo: bool, tmp_path: Path) -> None:
    net = ALL[name].build().eval()
    randomize_batchnorm(net, seed=1)
    compare(net, ALL[name].example_inputs(), tmp_path / "net.onnx", dynamo=dynamo)


def compare(net: torch.nn.Module, inputs: tuple[Any, ...], file: Path, *, dynamo: bool) -> None:
    try:
        exported(net, inputs, file, dynamo=dynamo)
    except Exception as error:  # noqa: BLE001 - what torch's exporters can't write isn't ours
        pytest.skip(f"torch.onnx can't export it: {str(error)[:80]}")
    try:
        program = import_onnx(file).program
    except LoadError as error:
        assert re.search("no support for|not supported", error.message)  # noqa: PT017
        pytest.xfail(error.message)
    with torch.no_grad():
        got, expected = program.module()(*inputs), net(*inputs)
    for a, b in zip(
        torch.utils._pytree.tree_leaves(got), torch.utils._pytree.tree_leaves(expected), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("by", ["Identity", "Abs"])
def test_statistics_that_come_from_weights(by: str, tmp_path: Path) -> None:
    """Exporters store equal tensors once; others may compute what they hand to a normalisation."""
    values = np.array([0.5, 1.0, 2.0], np.float32)
    net = chain(
        helper.make_node(by, ["w"], ["shared"]),
        helper.make_node("BatchNormalization", ["x", "w", "shared", "shared", "shared"], ["y"]),
        weights={"w": values},
        dims=(2, 3, 4),
    )
    program = import_onnx(saved(net, tmp_path)).program
    assert ("w" in dict(program.named_buffers())) == (by == "Identity")
    result = gp.compress(program, size=1.0)
    x = torch.randn(2, 3, 4)
    w = torch.from_numpy(values)
    expected = torch.nn.functional.batch_norm(x, w, w, w, w)
    torch.testing.assert_close(result.model(x), expected)


def test_a_call_is_named_after_its_place_in_the_file(tmp_path: Path) -> None:
    file = saved(
        chain(helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["y"])),
        tmp_path,
    )
    nodes = [n for n in import_onnx(file).program.graph.nodes if n.op == "call_function"]
    assert [source_line(node) for node in nodes] == ["model.onnx:1", "model.onnx:2"]


def two_layers(*, constants: bool, gather: bool) -> onnx.ModelProto:
    """Two products whose first channels are nearly dead; weights as initialisers or constants."""
    draw = np.random.default_rng(0)
    wide = np.r_[np.full(8, 1e-3), np.ones(8)]
    weights = {
        "first": (draw.normal(size=(6, 16)) * wide).astype(np.float32),
        "second": draw.normal(size=(16, 3)).astype(np.float32),
        "table": draw.normal(size=(9, 6)).astype(np.float32),
    }
    lookup = [helper.make_node("Gather", ["table", "x"], ["found"])] if gather else []
    stored = [
        numpy_helper.from_array(value, name)
        for name, value in weights.items()
        if gather or name != "table"
    ]
    nodes = [
        *[helper.make_node("Constant", [], [t.name], value=t) for t in stored if constants],
        *lookup,
        helper.make_node("MatMul", ["found" if gather else "x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"]),
    ]
    kind = TensorProto.INT64 if gather else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "two_layers",
        [helper.make_tensor_value_info("x", kind, ["n", 5] if gather else ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (3 if gather else 2))],
        [] if constants else stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("gather", [False, True], ids=["dense", "lookup"])
def test_weights_in_constant_nodes_are_weights(gather: bool, tmp_path: Path) -> None:
    plans = []
    for constants in (False, True):
        file = saved(two_layers(constants=constants, gather=gather), tmp_path)
        result = gp.compress(import_onnx(file).program, params=0.7)
        assert result.report.before.params == sum(
            value.numel() for value in import_onnx(file).program.state_dict.values()
        )
        assert not [note for note in result.report.notes if "alike" in note]
        plans.append({group.id: group.keep for group in result.plan.groups})
    assert list(plans[0].values()) == list(plans[1].values())
    (hidden,) = (group for group in result.plan.groups if group.width == 16)
    assert set(range(8, 16)) <= set(hidden.keep)


SECOND = {
    "Dropout": ({}, ["x"], TensorProto.BOOL),
    "MaxPool": ({"kernel_shape": [1]}, ["x"], TensorProto.INT64),
    "LayerNormalization": ({"axis": -1}, ["x", "scale"], TensorProto.FLOAT),
}


def with_second_result(operator: str, *, read: bool) -> onnx.ModelProto:
    """A model of a node with a second result, and a sum that may read it."""
    attributes, inputs, _ = SECOND[operator]
    nodes = [helper.make_node(operator, inputs, ["a", "second"], **attributes)]
    other = "a"
    if read:
        nodes.append(helper.make_node("Cast", ["second"], ["second_float"], to=TensorProto.FLOAT))
        other = "second_float"
    nodes.append(helper.make_node("Add", ["a", other], ["y"]))
    return chain(*nodes, weights={"scale": np.ones(4, np.float32)}, dims=(2, 3, 4))


@pytest.mark.parametrize("operator", SECOND)
def test_a_second_result_matters_only_where_it_is_read(operator: str, tmp_path: Path) -> None:
    unread = import_onnx(saved(with_second_result(operator, read=False), tmp_path))
    assert not unread.file.whole
    read = import_onnx(saved(with_second_result(operator, read=True), tmp_path))
    (reason,) = read.file.whole.values()
    assert "a result beside the first 1 is not supported" in reason


def test_a_split_that_makes_too_few_parts_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b", "c"], axis=1),
        helper.make_node("Concat", ["a", "c"], ["y"], axis=1),
    ]
    model = chain(*nodes, weights={"sizes": np.array([1, 2])})
    with pytest.raises(LoadError, match="a result beside the first 2"):
        import_onnx(saved(model, tmp_path))
