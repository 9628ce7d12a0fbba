"""Where a command reads its model from."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphprune.cli.model_source import ModelSource
from graphprune.errors import LoadError


def test_a_folder_stands_for_the_program_in_it(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"folder without model\.pt2"):
        _ = ModelSource(tmp_path, "", (), False).file
    (tmp_path / "net.pt").write_bytes(b"")
    (tmp_path / "model.pt2").write_bytes(b"")
    assert ModelSource(tmp_path, "", (), False).file == tmp_path / "model.pt2"
    assert ModelSource(tmp_path / "net.pt", "", (), False).file == tmp_path / "net.pt"
    with pytest.raises(LoadError, match=r"no such file: nowhere\.pt"):
        ModelSource(Path("nowhere.pt"), "", (), False).check()
