from __future__ import annotations

from pathlib import Path

import pytest

from graphprune.errors import OutputError
from graphprune.io.files import write_bytes


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.onnx"
    write_bytes(file, b"old")

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"can't write model\.onnx"):
        write_bytes(file, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("model.onnx", b"old")]
