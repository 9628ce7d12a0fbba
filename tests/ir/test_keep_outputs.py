"""Programs without some outputs, by what PyTorch's gradients say that the others need."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from graphprune.ir.keep_outputs import keep_outputs
from graphprune.ir.trace import trace
from graphprune.models import unetpp


class TwoTasks(nn.Module):
    """Two heads on one trunk; one of them writes in place, into views of what only it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.pre = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1)
        self.one, self.two = nn.Conv2d(8, 4, 1), nn.Conv2d(6, 5, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu_(self.trunk(x))
        y = self.pre(x)
        y[:, :2].mul_(3)
        return {"one": self.one(x), "two": self.two(torch.relu_(y))}


class SharedInPlace(nn.Module):
    """What one output overwrites, the other reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.a(x)
        doubled = x[:, :2].mul_(2)
        return self.b(x), self.c(torch.cat([doubled, doubled], 1))


CASES: list[tuple[nn.Module, tuple[torch.Tensor, ...]]] = [
    (TwoTasks(), (torch.randn(2, 3, 8, 8),)),
    (SharedInPlace(), (torch.randn(2, 4),)),
    (unetpp.build(widths=(4, 6, 8)), (torch.randn(2, 3, 16, 16),)),
]


def leaves(outputs: Any) -> list[torch.Tensor]:
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_what_is_left_is_what_gradients_reach(case: int) -> None:
    net, inputs = CASES[case]
    program = trace(net.eval(), inputs)
    count = len(leaves(net(*inputs)))
    for number in range(count):
        small = keep_outputs(program, [number])
        net.zero_grad()
        expected = leaves(net(*inputs))[number]
        expected.square().sum().backward()
        reached = {name for name, p in net.named_parameters() if p.grad is not None}
        assert {name for name, _ in small.named_parameters()} == reached
        assert torch.equal(small.module()(*inputs), expected)
        larger = tuple(torch.cat([x, x[:1]]) for x in inputs)
        assert torch.allclose(small.module()(*larger), leaves(net(*larger))[number], atol=1e-6)
    every = keep_outputs(program, range(count))
    assert dict(every.named_parameters()).keys() == dict(program.named_parameters()).keys()


def test_several_outputs_come_back_in_order() -> None:
    net, inputs = CASES[2]
    program = trace(net.eval(), inputs)
    both = keep_outputs(program, [1, 0]).module()(*inputs)
    assert isinstance(both, tuple)
    for got, expected in zip(both, net(*inputs), strict=True):
        assert torch.equal(got, expected)


def test_the_cost_is_smaller_by_what_the_other_outputs_cost() -> None:
    net, inputs = CASES[0]
    program = trace(net.eval(), inputs)

    def flops(call: Any) -> int:
        with FlopCounterMode(display=False) as counter:
            call(*inputs)
        return counter.get_total_flops()

    pixels = 2 * 6 * 6
    saved = flops(program.module()) - flops(keep_outputs(program, [0]).module())
    assert saved == 2 * pixels * (8 * 6 + 6 * 5)
