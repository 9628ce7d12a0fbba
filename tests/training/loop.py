"""A small network, a task that it can learn, and the plain loop of which all tests here are variants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.training.channels import Channels
from graphprune.training.progressive import Progressive

STEPS = 40


class Net(nn.Module):
    """A residual stream, a branch beside it, and BatchNorm where it is asked for."""

    def __init__(self, width: int = 12, norm: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.up = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.down = nn.Conv2d(2 * width, width, 3, padding=1)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.down(torch.relu(self.up(x)))
        return self.head(torch.relu(x).mean((2, 3)))


def net(norm: bool = True, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(norm=norm).double()


def data(count: int = 32) -> tuple[Tensor, Tensor]:
    """Images whose class is a matter of their colours."""
    made = torch.Generator().manual_seed(1)
    x = torch.randn(count, 3, 6, 6, generator=made, dtype=torch.float64)
    colours = torch.randn(3, 4, generator=made, dtype=torch.float64)
    return x, (x.mean((2, 3)) @ colours).argmax(1)


@dataclass
class Run:
    """A training in the plain loop; ``sparsify`` is ``None`` for one without."""

    model: nn.Module
    sparsify: gp.Sparsify | None
    optimizer: torch.optim.Optimizer
    losses: list[float] = field(default_factory=list)

    @staticmethod
    def of(method: Any, model: nn.Module | None = None, lr: float = 0.05, **options: Any) -> Run:
        model = net() if model is None else model
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        if method is None:
            return Run(model, None, optimizer)
        if method == "progressive" or isinstance(method, Progressive):
            options = {"optimizer": optimizer, **options}
        options = {"steps": STEPS, **({} if "plan" in options else {"flops": 0.5}), **options}
        return Run(model, gp.Sparsify(model, (data()[0][:2],), method=method, **options), optimizer)

    def go(self, steps: int = STEPS) -> Run:
        x, y = data()
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            self.losses.append(loss.item())
            if self.sparsify is not None:
                loss = loss + self.sparsify.penalty()
            loss.backward()
            self.optimizer.step()
            if self.sparsify is not None:
                self.sparsify.step()
        return self


def share(model: nn.Module, plan: gp.Plan, *, disjoint: bool = False) -> float:
    """Which share of all norms is in the channels that a plan removes."""
    analysis = gp.inspect(model, (data()[0][:2],))
    norms = Channels.of(analysis).norms(disjoint=disjoint).detach()
    kept = torch.cat([
        torch.isin(torch.arange(group.width), torch.tensor(group.keep)) for group in plan.groups
    ])
    return float(norms[~kept].sum() / norms.sum())
