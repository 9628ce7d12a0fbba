"""States of an optimiser: what is sliced, what is copied, and what is refused by its name."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.rebuild.optimizer_state import copied
from tests.rebuild.test_carry_optimizer import INPUTS, Flattened, Make


class Factored(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        for p in self.param_groups[0]["params"]:
            self.state[p]["spread"] = [p.detach().flatten(1).mean(1)] if p.ndim > 1 else []
        return super().step(closure)


class Wrapping(torch.optim.SGD):
    def __init__(self, params: Any) -> None:
        super().__init__(params, 0.1)
        self.inner = torch.optim.SGD(self.param_groups, 0.1)


class Preconditioned(torch.optim.SGD):
    """Keeps a matrix for each parameter, as Shampoo does: of the shape of the parameter, if that is square."""

    def step(self, closure: Any = None) -> Any:
        for p in (p for p in self.param_groups[0]["params"] if p.grad is not None):
            flat = p.grad.flatten(1) if p.ndim > 1 else p.grad[:, None]
            self.state[p]["precond"] = flat @ flat.T
        return super().step(closure)


class Drawing(torch.optim.SGD):
    """Draws from a generator of its own."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, 0.1)
        self.rng = random.Random(0)


class Square(nn.Module):
    """All parameters that are cut are square matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(16, 16, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (torch.optim.Adafactor, "row_var"),
        (torch.optim.LBFGS, "_params"),
        (Factored, "spread"),
        (Wrapping, "inner"),
        (lambda p: Preconditioned(p, 0.1), "precond"),
        (Drawing, "rng"),
    ],
    ids=[
        "Adafactor",
        "LBFGS",
        "one row",
        "an optimiser in an optimiser",
        "matrices",
        "a generator",
    ],
)
def test_what_cannot_be_sliced_is_named(make: Make, state: str) -> None:
    net = Flattened()
    optimizer = make(net.parameters())
    net(INPUTS[0].float()).sum().backward()
    optimizer.step(lambda: 0.0)
    result = gp.compress(net, (INPUTS[0].float(),), flops=0.5)
    with pytest.raises(OptionError, match=state):
        result.carry(optimizer)


def test_a_matrix_of_the_shape_of_its_parameter_is_not_sliced_as_that_is() -> None:
    net, x = Square(), torch.randn(4, 16)
    result = gp.compress(net, (x,), flops=0.5)
    for make, fits in ((lambda p: Preconditioned(p, 0.1), False), (torch.optim.Adam, True)):
        optimizer = make(net.parameters())
        net(x).square().sum().backward()
        optimizer.step()
        if fits:
            result.carry(optimizer)
            continue
        with pytest.raises(OptionError, match=r"'precond' of a\.weight is a symmetric tensor"):
            result.carry(optimizer)


def test_containers_are_copied_and_what_is_unknown_is_named() -> None:
    held = {"step": torch.tensor(3.0), "names": ["a", "b"], "betas": (0.9, 0.99)}
    found = copied(held, "the state", "Adam")
    assert found == held
    assert found["names"] is not held["names"]
    assert found["step"] is not held["step"]
    with pytest.raises(
        OptionError, match="the Adam can't be carried over: the state is of type deque"
    ):
        copied({"window": deque([1])}, "the state", "Adam")
