"""Sessions of onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from graphprune.ir.ort import plain_session, runtime_errors
from tests.loading.onnx.helpers import chain, relu

pytestmark = pytest.mark.onnx


def test_a_session_runs_a_model() -> None:
    x = np.array([[-1, 2, 3], [4, -5, 6]], np.float32)
    (y,) = plain_session(relu().SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_its_errors_are_known() -> None:
    unknown = chain(helper.make_node("Mine", ["x"], ["y"]))
    with pytest.raises(runtime_errors()):
        plain_session(unknown.SerializeToString())
    with pytest.raises(runtime_errors()):
        plain_session(b"no model")
