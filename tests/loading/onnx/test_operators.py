"""Every operator of the table agrees with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from graphprune.ir.private_torch import pytree
from graphprune.ir.program import user_inputs
from graphprune.loading.onnx import OPERATORS, import_onnx
from graphprune.loading.onnx.element_types import DTYPES
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
    """``import_onnx`` compares values, and raises if they differ; types have to be the file's too."""
    model = model_of(sample)
    found = import_onnx(saved(model, tmp_path))
    assert not found.file.whole
    leaves = pytree.tree_leaves(found.program.module()(*user_inputs(found.program)))
    kinds = [DTYPES[value.type.tensor_type.elem_type] for value in model.graph.output]
    assert [leaf.dtype for leaf in leaves] == kinds


def test_every_operator_has_a_sample() -> None:
    assert {sample.operator for sample in SAMPLES} | {*SIZES, *SEQUENCES, *UNPOOLING, *BODIES} == {
        *OPERATORS,
        "Constant",
    }


def test_a_form_that_is_not_supported_stays_whole(tmp_path: Path) -> None:
    model = chain(
        helper.make_node(
            "Resize", ["x", "", "f"], ["y"], name="larger", mode="linear", antialias=1
        ),
        weights={"f": np.array([1, 1, 2, 2], np.float32)},
        dims=(1, 2, 4, 4),
    )
    reasons = import_onnx(saved(model, tmp_path)).file.whole
    assert "antialias" in reasons["Resize node 'larger'"]
