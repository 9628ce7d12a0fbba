from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.export import ExportedProgram

from graphprune.ir.trace import trace
from tests.data.helpers import net


@pytest.fixture(scope="session")
def program() -> ExportedProgram:
    return trace(net(), (torch.randn(2, 3, 8, 8),))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images in three classes, all different, of 8x8 pixels."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(30):
        path = root / "deep" / f"class{number % 3}" / f"sub{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return root
