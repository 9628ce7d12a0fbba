"""Networks, and a machine that is pretended, for tests of latencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.export.ort_session import Runtime
from graphprune.ir.trace import trace
from graphprune.passes import CRITERIA, Allocate, Analyse, Decision, Score
from graphprune.passes.latency import workload
from graphprune.passes.latency.profile import profile
from graphprune.pipeline import State
from graphprune.plan.kernel_times import Kernel
from graphprune.plan.latency_table import LatencyTable


class Block(nn.Module):
    """A residual block with everything that fuses, a depthwise layer, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.first = nn.Conv2d(24, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.last = nn.Conv2d(16, 24, 1)
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        y = F.hardtanh(self.depthwise(F.relu(self.first(x))), 0.0, 6.0)
        x = F.relu(self.last(y) + x)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 1), 1))


class Concat(nn.Module):
    """A layer whose input width is a sum of groups."""

    def __init__(self, parts: int = 2) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(3, 16, 3, padding=1) for _ in range(parts))
        self.joined = nn.Conv2d(16 * parts, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.joined(torch.cat([F.relu(part(x)) for part in self.parts], 1)).mean((2, 3))


INPUTS = (torch.randn(1, 3, 8, 8),)


def program(net: nn.Module | None = None) -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    return trace((net or Block()).eval(), INPUTS)


def pretend(kernel: Kernel, points: Sequence[tuple[int, ...]]) -> list[float]:
    """A machine on which a kernel takes what its widths multiply to, and odd widths twice that."""

    def one(widths: tuple[int, ...]) -> float:
        odd = any(w % 4 for w in widths) and kernel.kind == "conv" and len(widths) == 2
        return 1e-6 * float(np.prod(widths)) * (2 if odd else 1)

    return [one(widths) for widths in points]


def made(net: nn.Module | None = None) -> tuple[State, LatencyTable]:
    state = gp.Pipeline((Analyse(), Score(CRITERIA["l2"]))).run(program(net))
    table = pretended(state[Analysis])
    return state.knowing(table), table


def pretended(analysis: Analysis) -> LatencyTable:
    """The table of a machine that is pretended."""
    return profile(workload(analysis), pretend, runtime=Runtime())


def decided(state: State, *budgets: gp.Budget, **options: object) -> Decision:
    return Allocate(budget=budgets, **options).run(state)
