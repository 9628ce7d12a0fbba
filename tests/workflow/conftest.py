"""What several tests of results need."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from tests import nets


@pytest.fixture(scope="session")
def result() -> gp.Result:
    """Compress a network that has BatchNorms, so that some fold away in a file."""
    torch.manual_seed(0)
    net = nets.NETS["NormedResidual"]()
    return gp.compress(net, net.inputs(), flops=0.5)
