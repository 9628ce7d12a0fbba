"""Data and networks for tests of the repair."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.program import state, unlift
from graphprune.ir.trace import trace
from graphprune.passes import Distil, Distilled, Effort
from graphprune.passes.observe import Observations
from graphprune.passes.recover.rows import Rows
from graphprune.passes.recover.teacher_student import Teacher
from graphprune.pipeline import Progress, State
from tests.nets import HELD, NETS


def rows(x: Tensor, y: Tensor, base: Tensor | None = None) -> Rows:
    return Rows(x[None], y[None], torch.zeros_like(y)[None] if base is None else base[None])


def observed(name: str) -> Observations:
    """Of a net on eight batches of noise."""
    torch.manual_seed(0)
    net = (NETS | HELD)[name]().eval()
    program = trace(net, net.inputs(), net.keywords())
    leaves = pytree.tree_leaves(program.example_inputs)
    data = [
        [
            torch.randn_like(x) if isinstance(x, Tensor) and x.is_floating_point() else x
            for x in leaves
        ]
        for _ in range(8)
    ]
    return Observations(analyse(program), gather(data, program))


class Case:
    """A dense program, a smaller one, and data."""

    def __init__(self, net: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.dense = trace(net, inputs)
        self.small = gp.compress(self.dense, flops=0.5, score="random").program
        generator = torch.Generator().manual_seed(1)
        self.data = gather(
            [tuple(_like(x, generator) for x in inputs) for _ in range(16)], self.dense
        )

    def distil(self, **options: Any) -> Distil:
        return Distil(**{"effort": Effort(steps=30), "rate": 0.01, **options})

    def state(self, program: ExportedProgram, progress: Progress | None = None) -> State:
        return State(program, progress=progress).knowing(Teacher(self.dense), self.data)

    def run(
        self, progress: Progress | None = None, **options: Any
    ) -> tuple[ExportedProgram, Distilled]:
        program, (found,) = self.distil(**options).run(self.state(self.small, progress))
        return program, found


def _like(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not x.is_floating_point():
        return torch.randint(0, 5, (16, *x.shape[1:]), generator=generator)
    return torch.randn(16, *x.shape[1:], generator=generator)


class Two(nn.Module):
    """Two outputs, none of them classes, a shared weight, and a flag that isn't a float."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 12)
        self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.b.weight = self.a.weight

    def forward(self, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = torch.relu(self.b(torch.relu(self.a(self.words(words)))))
        return self.c(x), 100 * self.c(x).sum(2), words > 2


def weights(program: ExportedProgram) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state(unlift(program)).items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
