"""``graphprune bench``: what it runs and shows. How long that takes is the machine's business."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.conftest import Ran

pytestmark = pytest.mark.onnx


def save(path: Path, shape: list[int | str]) -> Path:
    """``y = x @ w``."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", value[:1], value[1:], [weight]
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def test_every_pair_of_batch_and_threads_is_timed(tmp_path: Path, cli: Callable[..., Ran]) -> None:
    a, b = save(tmp_path / "a.onnx", ["n", 4]), save(tmp_path / "b.onnx", ["n", 4])
    ran = cli("bench", a, b, "--batch", "1,3", "--threads", "1,2", "--rounds", 4, "--json")
    found = json.loads(ran.out)
    assert ran.code == 0
    assert (found["format"], found["provider"]) == ("graphprune.bench/1", "CPUExecutionProvider")
    timings = found["timings"]
    assert [(t["batch"], t["threads"], t["file"]) for t in timings] == [
        (batch, threads, str(file)) for batch in (1, 3) for threads in (1, 2) for file in (a, b)
    ]
    for timing in timings:
        assert timing["seconds"]["runs"] == 4
        assert 0 < timing["seconds"]["least"] <= timing["seconds"]["median"]
    assert {t["ratio"]["median"] for t in timings if t["file"] == str(a)} == {1.0}


def test_the_table_names_both(tmp_path: Path, cli: Callable[..., Ran]) -> None:
    a, b = save(tmp_path / "a.onnx", [2, 4]), save(tmp_path / "b.onnx", [2, 4])
    ran = cli("bench", a, b, "--rounds", 2)
    assert ran.code == 0
    assert str(a) in ran.out
    assert str(b) in ran.out
    assert "ratio" in ran.out


def test_other_dynamic_axes_need_a_size(tmp_path: Path, cli: Callable[..., Ran]) -> None:
    model = save(tmp_path / "a.onnx", ["n", "length", 4])
    refused = cli("bench", model, "--rounds", 1)
    assert refused.code == 2
    assert "length=128 (--dim)" in refused.err
    assert cli("bench", model, "--rounds", 1, "--dim", "length=7").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "0"], "--batch must be at least 1"),
        (["--threads", "two"], "can't read --threads 'two'"),
        (["--dim", "length"], "can't read --dim 'length'"),
        (["--provider", "abacus"], "no execution provider 'abacus'"),
    ],
)
def test_what_it_refuses(
    tmp_path: Path, cli: Callable[..., Ran], options: list[str], message: str
) -> None:
    ran = cli("bench", save(tmp_path / "a.onnx", [1, 4]), "--rounds", 1, *options)
    assert ran.code == 2
    assert message in ran.err


def test_files_that_are_not_models(tmp_path: Path, cli: Callable[..., Ran]) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no")
    assert "can't run the ONNX model" in cli("bench", tmp_path / "no.onnx").err
    assert "no such file" in cli("bench", tmp_path / "none.onnx").err
