"""What is printed of an average."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from graphprune.cli.render import soup
from graphprune.workflow.soup import Soup


def shown(capsys: pytest.CaptureFixture[str], made: Soup, batchnorms: int = 1) -> str:
    members = SimpleNamespace(names=("a.pt", "b.pt"), batchnorms=batchnorms)
    soup(members, made, Path("mixed.pt"))  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_who_is_in_and_how_accurate(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, Soup(nn.Identity(), (1,), (0.5, 0.75), 0.8, 3))
    rows = [line.split() for line in said.splitlines()]
    assert ["a.pt", "50.00%", "left", "out"] in rows
    assert ["b.pt", "75.00%", "used"] in rows
    assert ["average", "80.00%"] in rows
    assert "BatchNorm: statistics of 3 layers estimated anew" in said
    assert said.endswith("wrote mixed.pt\n")


def test_averaged_statistics_are_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert "BatchNorm statistics are averages" in shown(capsys, Soup(nn.Identity(), (0, 1)))
    assert "BatchNorm" not in shown(capsys, Soup(nn.Identity(), (0, 1)), batchnorms=0)
