"""Accuracy on inputs with labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data import accuracy, open_source
from graphprune.errors import LoadError, OptionError
from graphprune.ir.trace import trace
from tests.data.helpers import MEAN, STD, net


def test_accuracy(folder: Path, program: ExportedProgram, tmp_path: Path) -> None:
    model = net().eval()
    source = gp.images(folder, mean=MEAN, std=STD)
    right = 0
    with torch.no_grad():
        for number in range(30):
            (file,) = folder.rglob(f"{number:02}.png")
            pixels = np.asarray(Image.open(file), dtype=np.float64) / 255
            image = torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1).float()
            right += int(model(image[None]).argmax()) == number % 3
    assert accuracy(program, source) == right / 30
    fixed = torch.export.export(model, (torch.randn(4, 3, 8, 8),))
    assert accuracy(fixed, source) == right / 30
    x = torch.randn(50, 3, 8, 8)
    with torch.no_grad():
        y = model(x).argmax(1).numpy()
    np.savez(tmp_path / "val.npz", x=x.numpy(), y=y)
    assert accuracy(program, open_source(tmp_path / "val.npz")) == 1
    np.savez(tmp_path / "val.npz", x=x.numpy(), y=y + 1)
    if y.max() == 2:
        with pytest.raises(LoadError, match="3 classes, 0 to 2"):
            accuracy(program, open_source(tmp_path / "val.npz"))


def test_labels_that_are_not_there(folder: Path, program: ExportedProgram, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no folder for each class"):
        gp.images(folder / "deep" / "class0" / "sub0").labels()
    with pytest.raises(LoadError, match="folders for 2 classes, the model has 3"):
        accuracy(program, gp.images(folder / "deep" / "class0"))
    np.savez(tmp_path / "val.npz", x=np.zeros((2, 3, 8, 8)))
    with pytest.raises(LoadError, match="no integer array 'y'"):
        accuracy(program, open_source(tmp_path / "val.npz"))
    unlabelled = trace(nn.Conv2d(3, 2, 3), (torch.randn(2, 3, 8, 8),))
    with pytest.raises(OptionError, match="one output"):
        accuracy(unlabelled, gp.images(folder))
