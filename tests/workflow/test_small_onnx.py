"""The ONNX model of a result: edited, or exported anew with a note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import helper
from torch import nn

import graphprune as gp
from graphprune.errors import ExportError
from graphprune.export.check import OnnxCheck
from graphprune.export.edit_onnx import EditError
from graphprune.export.io_names import IONames
from graphprune.export.onnx_file import OnnxFile

pytestmark = pytest.mark.onnx


def file_of(opset: int) -> OnnxFile:
    """A file that can't be edited: what it holds is another network."""
    other = helper.make_node("Relu", ["image"], ["classes"])
    x, y = (
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in ("image", "classes")
    )
    model = helper.make_model(helper.make_graph([other], "other", [x], [y]))
    names = IONames(("image",), ("classes",), opset=opset)
    return OnnxFile(model.SerializeToString(), names, {}, {}, OnnxCheck(0.0, 1e-4))


def cannot(*_: Any, **__: Any) -> None:
    raise EditError("a node can't say it")


def test_what_can_not_be_edited_is_exported_under_the_names_and_in_the_opset_of_the_file(
    result: gp.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphprune.workflow.small_onnx.edit", cannot)
    named = replace(result, onnx_file=file_of(17))
    done = named.export_onnx(tmp_path / "a.onnx")
    assert any("exported anew, not edited: a node can't say it" in n for n in done.report.notes)
    model = onnx.load(tmp_path / "a.onnx")
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["classes"]
    assert [each.version for each in model.opset_import if not each.domain] == [17]


def test_nodes_that_only_the_file_can_hold_are_named_where_it_can_not_be_edited(
    result: gp.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ExportError("no ONNX function found")

    monkeypatch.setattr("graphprune.workflow.small_onnx.edit", cannot)
    monkeypatch.setattr("graphprune.workflow.small_onnx.to_onnx", fails)
    file = replace(file_of(17), whole={"Odd node 'a'": "no entry"}, choices=("If node 'b'",))
    with pytest.raises(ExportError, match="can't be edited: a node can't say it") as failure:
        replace(result, onnx_file=file).export_onnx(tmp_path / "a.onnx")
    assert "If node 'b', Odd node 'a'" in failure.value.message


def test_an_edit_that_computes_something_else_is_not_written(
    result: gp.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = onnx.ModelProto.FromString(file_of(17).data)
    monkeypatch.setattr("graphprune.workflow.small_onnx.edit", lambda *_, **__: wrong)
    done = replace(result, onnx_file=file_of(17)).export_onnx(tmp_path / "a.onnx")
    assert any("exported anew" in note for note in done.report.notes)
    assert len(onnx.load(tmp_path / "a.onnx").graph.node) > 1


def test_an_opset_that_can_not_be_had_is_left_with_a_note_or_refused_if_asked_for(
    result: gp.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphprune.workflow.small_onnx.edit", cannot)
    done = replace(result, onnx_file=file_of(1)).export_onnx(tmp_path / "a.onnx")
    assert any("another opset than the model's 1" in note for note in done.report.notes)
    with pytest.raises(ExportError):
        result.export_onnx(tmp_path / "b.onnx", opset=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_a_precision_that_onnxruntime_lacks_is_named(kind: torch.dtype, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).to(kind)
    result = gp.compress(net, (torch.randn(2, 3, 8, 8, dtype=kind),), flops=0.5)
    with pytest.raises(ExportError) as caught:
        result.export_onnx(tmp_path / "small.onnx")
    assert str(kind).removeprefix("torch.") in caught.value.hint
    assert "float32" in caught.value.hint
