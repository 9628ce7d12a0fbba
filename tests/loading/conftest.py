from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests import nets
from tests.loading.helpers import weights


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A path that exists only if code of a hostile file ran."""
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists()


@pytest.fixture(scope="session")
def program() -> bytes:
    """A good ``.pt2``."""
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    net = nets.NormedResidual().eval()
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(net, net.inputs(), dynamic_shapes=shapes), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save(weights(), buffer)
    return buffer.getvalue()
