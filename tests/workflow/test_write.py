"""What a compression leaves on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import graphprune as gp
from graphprune.errors import OutputError
from graphprune.workflow.write import (
    FILES,
    HALF,
    MODEL,
    ONNX,
    PAGE,
    PLAN,
    PRETRAINED,
    PROGRAM,
    REPORT,
    SAFETENSORS,
    write,
)
from tests import nets


@pytest.fixture(scope="module")
def result() -> gp.Result:
    torch.manual_seed(0)
    net = nets.NETS["TiedWeights"]()
    return gp.compress(net, net.inputs(), flops=0.7)


def test_files_are_those_that_were_asked_for(result: gp.Result, tmp_path: Path) -> None:
    stages: list[str] = []
    done = write(result, tmp_path, onnx=False, page=False, progress=stages.append)
    assert {path.name for path in tmp_path.iterdir()} == {MODEL, PROGRAM, PLAN, REPORT}
    sizes = {name: (tmp_path / name).stat().st_size for name in (MODEL, PROGRAM, PLAN)}
    assert done.report.files == sizes
    assert stages == ["save"]


@pytest.mark.onnx
def test_everything_that_there_is(result: gp.Result, tmp_path: Path) -> None:
    done = write(result, tmp_path, fp16=True, safetensors=True)
    written = {MODEL, SAFETENSORS, PROGRAM, ONNX, HALF, PLAN, REPORT, PAGE}
    assert {path.name for path in tmp_path.iterdir()} == written
    assert {*FILES} == {*written, PRETRAINED}
    assert {*done.report.files} == written - {REPORT, PAGE}


def test_what_is_read_again_is_what_was_made(result: gp.Result, tmp_path: Path) -> None:
    done = write(result, tmp_path, onnx=False, safetensors=True)
    weights = result.model.state_dict()
    stored = torch.load(tmp_path / MODEL, weights_only=True)
    assert {*stored} == {*weights}
    assert all(torch.equal(stored[name], value) for name, value in weights.items())
    tensors = load_file(tmp_path / SAFETENSORS)  # each once, under the first of its names
    assert {*tensors} < {*weights}
    assert all(torch.equal(value, weights[name]) for name, value in tensors.items())
    assert gp.Plan.from_json((tmp_path / PLAN).read_text()) == result.plan
    report = json.loads((tmp_path / REPORT).read_text())
    assert report["seconds"] == {}  # so that the same input gives the same bytes
    assert "save" in done.report.seconds
    x = torch.randn(4, *result.dense.example_inputs[0][0].shape[1:])
    torch.testing.assert_close(gp.load(tmp_path)(x), result.program.module()(x))


def test_a_place_that_can_not_be_written_to(result: gp.Result, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"can't write model\.pt"):
        write(result, tmp_path / "nowhere", onnx=False)
    (tmp_path / REPORT).mkdir()
    with pytest.raises(OutputError, match=r"can't write report\.json"):
        write(result, tmp_path, onnx=False)
