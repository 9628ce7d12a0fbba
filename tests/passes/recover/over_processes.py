"""Compress a small net, alone or under torchrun, and write the plan and the weights.

Run as ``python over_processes.py OUT`` or ``torchrun --nproc-per-node 2 over_processes.py OUT``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import distributed, nn

import graphprune as gp
from graphprune.models.cifar_resnet import CifarResNet
from graphprune.models.randomize import randomize_batchnorm


class Head(nn.Module):
    """A weight for both halves, a computed one, and a last one of more inputs than there are rows."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Linear(32, 48), nn.Linear(200, 10)
        self.wide = nn.utils.parametrizations.weight_norm(nn.Linear(96, 200))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = [torch.relu(self.shared(half)) for half in x.chunk(2, -1)]
        return self.last(torch.relu(self.wide(torch.cat(both, -1))))


def main(out: Path) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("gloo")
    torch.manual_seed(0)
    net = CifarResNet(depth=8).eval()
    net.linear = Head()
    randomize_batchnorm(net, seed=0)
    data = torch.randn(120, 3, 16, 16)
    result = gp.compress(net, (data[:2],), flops=0.5, calibration=[data])
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.save(result.model.state_dict(), out / f"{rank}.pt")
    (out / f"{rank}.json").write_text(result.plan.to_json())
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
