"""Every operator of the table agrees with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from graphprune.loading.onnx import OPERATORS, import_onnx
from tests.loading.onnx.helpers import chain, saved
from tests.loading.onnx_samples import (
    BODIES,
    SAMPLES,
    SEQUENCES,
    SIZES,
    UNPOOLING,
    Sample,
    model_of,
)

pytestmark = pytest.mark.onnx


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_an_operator_agrees_with_onnxruntime(sample: Sample, tmp_path: Path) -> None:
    """``import_onnx`` compares; it raises if they differ."""
    import_onnx(saved(model_of(sample), tmp_path))


def test_every_operator_has_a_sample() -> None:
    assert {sample.operator for sample in SAMPLES} | {*SIZES, *SEQUENCES, *UNPOOLING, *BODIES} == {
        *OPERATORS,
        "Constant",
    }


def test_a_form_that_is_not_supported_stays_whole(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["y"], name="every-other"),
        weights={"s": np.array([5]), "e": np.array([0]), "a": np.array([1]), "t": np.array([-2])},
    )
    reasons = import_onnx(saved(model, tmp_path)).file.whole
    assert "a range backwards" in reasons["Slice node 'every-other'"]
