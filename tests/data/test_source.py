"""What names a source: folders, files, the user's own code; and what a report says of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data import accuracy, open_source
from graphprune.errors import LoadError
from tests.data.helpers import joined, net


def test_the_users_code(
    program: ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_data.py").write_text(
        "import torch\n"
        "def good():\n    return (torch.full((3, 3, 8, 8), float(i)) for i in range(10**9))\n"
        "def bad():\n    yield torch.zeros(1, 3, 8, 8)\n    raise ZeroDivisionError('mine')\n"
        "def pairs():\n    yield torch.zeros(2, 3, 8, 8), [0, 1]\n"
        "def words():\n    yield torch.zeros(2, 3, 8, 8), ['cat', 'dog']\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    data = open_source("own_data:good").calibration(program, 7)
    assert joined(data)[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2]
    with pytest.raises(LoadError, match=r"ZeroDivisionError: mine \(own_data.py:6\)"):
        open_source("own_data:bad").calibration(program, 7)
    with pytest.raises(LoadError, match="can't find"):
        open_source("own_data:nothing").calibration(program, 7)
    assert accuracy(program, open_source("own_data:pairs")) in {0.0, 0.5}
    with pytest.raises(LoadError, match="labels that are no numbers"):
        accuracy(program, open_source("own_data:words"))
    with pytest.raises(LoadError, match="pairs"):
        accuracy(program, open_source("own_data:good"))


def test_compress_says_what_it_looked_at(folder: Path) -> None:
    model, inputs = net(), (torch.randn(2, 3, 8, 8),)
    result = gp.compress(model, inputs, flops=0.5, calibration=gp.images(folder), samples=12)
    assert result.report.calibration == {
        "source": f"12 of 30 images in {folder.name}",
        "samples": 12,
        "skipped": 0,
    }
    assert "data" in result.report.seconds
    assert any("no mean and std given" in note for note in result.report.notes)
    plain = gp.compress(model, inputs, flops=0.5)
    assert plain.report.calibration == {}
    assert any("without calibration data" in note for note in plain.report.notes)
