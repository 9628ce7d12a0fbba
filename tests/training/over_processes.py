"""Train and prune a small net, alone or in two processes under DistributedDataParallel, and write what comes out.

Run as ``torchrun --nproc-per-node 2 over_processes.py OUT METHOD``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import graphprune as gp
from tests.training.loop import STEPS, data, net


def train(method: str, rank: int, processes: int) -> gp.Result:
    """Train on every ``processes``-th sample, so that gradients average to those of all."""
    model = net(norm=False)
    wrapped = DistributedDataParallel(model) if processes > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = data()
    sparsify = gp.Sparsify(wrapped, (x[:2],), flops=0.5, method=method, steps=STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(wrapped(x[rank::processes]), y[rank::processes])
        (loss + sparsify.penalty()).backward()
        optimizer.step()
        sparsify.step()
    return sparsify.finish(optimizer)


def main(out: Path, method: str) -> None:
    distributed.init_process_group("gloo")
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    result = train(method, rank, processes)
    torch.save(result.model.state_dict(), out / f"{rank}.pt")
    (out / f"{rank}.json").write_text(result.plan.to_json())
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
