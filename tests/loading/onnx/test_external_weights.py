"""Weights in other files are read where they lie beside the model, and fit."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import saved, with_tensor

pytestmark = pytest.mark.onnx


def outside(location: str, **entries: str) -> onnx.ModelProto:
    """A model whose weight is said to be in another file."""
    model = with_tensor(data_location=TensorProto.EXTERNAL, raw_data=b"")
    model.graph.initializer[0].ClearField("raw_data")
    for key, value in ({"location": location} | entries).items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    return model


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "/etc/passwd",
        "a/../../secret",
        "..\\secret",
        "C:\\secret",
        "link",
        "folder/secret",
        "",
    ],
)
def test_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    with pytest.raises(LoadError, match="stored outside the folder"):
        import_onnx(saved(outside(location), folder))


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": "4"},
        {"offset": "-4"},
        {"length": "13"},
        {"length": "8"},
        {"offset": "99999999999999"},
        {"offset": "x"},
        {"length": "1e9"},
    ],
)
def test_weights_beyond_the_end_of_their_file(entries: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    import_onnx(saved(outside("w.bin"), tmp_path))
    with pytest.raises(LoadError, match="tensor 'w'"):
        import_onnx(saved(outside("w.bin", **entries), tmp_path))


def test_weights_in_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.bin")  # opening one for reading waits forever
    with pytest.raises(LoadError, match="tensor 'w'"):
        import_onnx(saved(outside("w.bin"), tmp_path))
    with pytest.raises(LoadError, match="can't read missing"):
        import_onnx(saved(outside("missing"), tmp_path))
