"""A small classifier of images, and what a calibration holds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import nn

from graphprune.data.calibration import Calibration

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def joined(data: Calibration) -> torch.Tensor:
    return torch.cat([batch[0] for batch in data.batches])
