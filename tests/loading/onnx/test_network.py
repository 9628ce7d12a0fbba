"""Networks come back from ONNX as they went."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

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


@pytest.mark.parametrize("name", ["paths", "counts.weight", "_values", "forward", "whole.unread"])
def test_a_weight_may_be_called_as_the_module_calls_something(name: str, tmp_path: Path) -> None:
    weights = {name: np.ones((2, 3), np.float32)}
    found = import_onnx(
        saved(chain(helper.make_node("Add", ["x", name], ["y"]), weights=weights), tmp_path)
    )
    assert found.file.tensors[name] in dict(found.program.named_parameters())


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
