"""TorchScript: code, which is asked for, and what of it can be captured."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from graphprune.errors import LoadError
from graphprune.loading.load import load
from tests import nets
from tests.loading.helpers import SHAPE


def test_torchscript_is_code(mark: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nets.NormedResidual()), tmp_path / "model.pt")
    with pytest.raises(LoadError, match="TorchScript, and reading it may run code"):
        load(tmp_path / "model.pt", inputs=SHAPE)
    assert load(tmp_path / "model.pt", inputs=SHAPE, trust_pickle=True).program is not None
