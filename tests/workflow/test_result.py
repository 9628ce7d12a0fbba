"""A result and its ONNX file."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

import graphprune as gp
from graphprune.errors import OptionError

pytestmark = pytest.mark.onnx


def test_the_file_is_checked_and_the_report_of_the_new_result_says_so(
    result: gp.Result, tmp_path: Path
) -> None:
    done = result.export_onnx(tmp_path / "small.onnx")
    assert 0 <= done.report.onnx["max_error"] <= done.report.onnx["tolerance"]
    assert done.report.batchnorm == {"before": 2, "after": 0}
    assert done.report.files == {"small.onnx": (tmp_path / "small.onnx").stat().st_size}
    assert "onnx" in done.report.seconds
    assert (result.report.onnx, result.report.files) == ({}, {})
    assert replace(done, report=result.report) == result


def test_float16_is_a_second_file_with_a_check_of_its_own(
    result: gp.Result, tmp_path: Path
) -> None:
    done = result.export_onnx(tmp_path / "a.onnx", fp16=tmp_path / "half.onnx")
    assert {*done.report.files} == {path.name for path in tmp_path.iterdir()}
    assert done.report.onnx["fp16_error"] <= done.report.onnx["fp16_tolerance"]
    kinds = {t.data_type for t in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert onnx.TensorProto.FLOAT not in kinds


def test_a_copy_has_a_model_of_its_own_that_optimisers_are_carried_to(result: gp.Result) -> None:
    assert copy.copy(result) == result
    copied = copy.deepcopy(result)
    own, other = next(copied.model.parameters()), next(result.model.parameters())
    assert own is not other
    assert torch.equal(own, other)
    given = result.pair.given
    assert isinstance(given, torch.nn.Module)
    moved = copied.carry(torch.optim.SGD(given.parameters(), lr=0.1))
    assert moved.param_groups[0]["params"][0] is own


def test_what_can_be_saved_of_a_result_is_said(result: gp.Result, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="can't be pickled") as error:
        torch.save(result, tmp_path / "result.pt")
    assert "result.model" in error.value.hint
    assert pickle.loads(pickle.dumps(result.plan)) == result.plan
