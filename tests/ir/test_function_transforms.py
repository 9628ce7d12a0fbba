"""Functions that a forward maps over a batch of weights are cut through."""

from __future__ import annotations

import torch
from torch import nn

import graphprune as gp
from graphprune.ir.function_transforms import without_transforms
from graphprune.ir.private_torch import OpOverload
from graphprune.ir.trace import trace


def test_functions_over_a_batch_of_weights_become_calls_on_all_of_them() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
            self.w = nn.Parameter(torch.randn(3, 8, 16) / 3)
            self.v = nn.Parameter(torch.randn(3, 16, 4) / 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.relu(self.norm(self.conv(x))).mean((2, 3))
            return torch.vmap(lambda w, v: torch.relu(h @ w) @ v)(self.w, self.v).mean(0)

    net, x = Mapped().eval(), torch.randn(2, 3, 6, 6)
    program = trace(net, (x,))
    targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert {torch.ops.aten.conv2d.default, torch.ops.aten.batch_norm.default} <= targets
    assert all(isinstance(target, OpOverload) for target in targets)
    result = gp.compress(net, x, flops=0.5, score="random")
    assert isinstance(result.model, Mapped)
    assert result.model.w.shape[2] < 16


def test_a_plain_program_stays_as_it_is() -> None:
    program = trace(nn.Linear(3, 2), (torch.randn(2, 3),))
    assert without_transforms(program) is program
