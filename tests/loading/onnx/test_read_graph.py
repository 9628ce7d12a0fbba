"""Bytes become a graph only where they are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import BOMBS, chain, saved
from tests.sources import ROOT

pytestmark = pytest.mark.onnx


@pytest.mark.parametrize("kind", BOMBS)
def test_a_model_that_lies_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        import_onnx(saved(BOMBS[kind](), tmp_path))
    assert len(str(caught.value)) < 600


def test_an_operator_that_nobody_knows_is_named(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Hardmax", ["x"], ["a"], name="first"),
        helper.make_node("Mine", ["a"], ["y"], name="second", domain="com.example"),
    )
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(
        LoadError, match=r"operator com.example.Mine \(node 'second'\); onnxruntime can't run it"
    ) as caught:
        import_onnx(saved(model, tmp_path))
    folder = caught.value.hint.rpartition(" ")[2]
    assert (ROOT / folder / "operators.py").is_file()
