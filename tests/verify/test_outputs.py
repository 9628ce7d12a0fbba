"""Kept outputs are compared with those of the whole network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.errors import VerifyError
from graphprune.ir.keep_outputs import keep_outputs
from graphprune.ir.trace import trace
from graphprune.verify.outputs import verify_outputs


class Heads(nn.Module):
    """Three outputs of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 6)
        self.heads = nn.ModuleList(nn.Linear(6, 3) for _ in range(3))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = torch.relu(self.trunk(x))
        return [head(x) for head in self.heads]


@pytest.mark.parametrize("kept", [(0,), (2,), (0, 2)])
def test_other_outputs_are_noticed(kept: tuple[int, ...]) -> None:
    program = trace(Heads(), (torch.randn(2, 4),))
    small = keep_outputs(program, kept)
    assert verify_outputs(program, small, kept) == 0
    with pytest.raises(VerifyError, match="others than before"):
        verify_outputs(program, small, [1] * len(kept))
