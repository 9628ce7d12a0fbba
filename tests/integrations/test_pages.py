"""The pages on frameworks do what they say, where the frameworks are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune.cli.__main__ import main
from tests.documents import blocks
from tests.sources import ROOT

PAGES = {
    "lightning": ("lightning",),
    "peft": ("peft", "accelerate"),
    "timm": ("timm",),
}
"""Page -> what it takes."""


@pytest.mark.zoo
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in PAGES[page]:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": page}
    for block in blocks(ROOT / "docs" / f"{page}.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.code)
        elif block.language == "python":
            exec(block.code, names)
        elif block.language == "console":
            for line in (x for x in block.code.splitlines() if x.startswith("$ graphprune ")):
                assert main(line.removeprefix("$ graphprune ").split()) == 0
    assert list(tmp_path.glob("*.onnx"))
