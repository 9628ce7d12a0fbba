"""A report says which file the model came from, and how long it took to read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune.cli import compress_source as command
from graphprune.cli.model_source import ModelSource
from tests import nets


def source(folder: Path) -> ModelSource:
    net = nets.NETS["OptionAShortcut"]().eval()
    file = folder / "net.pt2"
    torch.export.save(torch.export.export(net, net.inputs()), file)
    return ModelSource(file, "", (), False)


def test_the_report_names_the_file(tmp_path: Path) -> None:
    told: list[str] = []
    read = source(tmp_path)
    start = time.perf_counter()
    result = command.compress_source(read, {"flops": 0.6}, start, told.append, quiet=True)
    assert result.report.source == {"file": "net.pt2", "bytes": read.file.stat().st_size}
    assert result.report.model == "net.pt2"
    assert next(iter(result.report.seconds)) == "load"
    assert 0 < result.report.seconds["load"] < time.perf_counter() - start
    assert "analyse" in told


def test_a_drop_of_accuracy_is_searched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphprune.workflow import budget_sweep

    asked: dict[str, Any] = {}

    def within(*args: Any, **how: Any) -> None:
        asked.update(how)
        raise KeyboardInterrupt

    monkeypatch.setattr(budget_sweep, "compress_within", within)
    with pytest.raises(KeyboardInterrupt):
        command.compress_source(source(tmp_path), {"max_drop": 0.01}, 0.0, print, quiet=True)
    assert asked["max_drop"] == 0.01
    assert asked["outputs"] == ()
