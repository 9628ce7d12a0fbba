"""The case that tests of distillation share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.passes.recover.helpers import Case


@pytest.fixture(scope="module")
def case() -> Case:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(16, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    return Case(net.eval(), (torch.randn(2, 3, 8, 8),))
