"""Fixed weights: a random basis may be so ill-conditioned that combinations aren't proven to 1e-11."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
