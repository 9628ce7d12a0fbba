"""A result and its ONNX file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import graphprune as gp

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
