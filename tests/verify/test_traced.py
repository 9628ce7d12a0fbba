"""The first link of the proofs: a program computes what the module it was traced from does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.errors import TraceError
from graphprune.ir.trace import trace
from graphprune.models import ALL
from graphprune.verify.traced import TraceCheck, verify_traced
from tests import nets


class Siamese(nn.Module):
    """One encoder, two inputs, a head for each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
        self.left, self.right = nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        return self.left(self.encoder(p)) - self.right(self.encoder(q))


class Counting(nn.Module):
    """Counts its calls, and multiplies by that."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return self.layer(x), self.calls * self.layer(x)


@pytest.mark.parametrize("name", nets.NETS)
def test_every_net_is_what_was_traced(name: str) -> None:
    net = nets.NETS[name]()
    check = verify_traced(net, trace(net, net.inputs(), net.keywords()))
    assert check.max_error <= check.tolerance
    assert not check.note


@pytest.mark.parametrize("name", ALL)
def test_every_model_is_what_was_traced(name: str) -> None:
    model = ALL[name].build()
    check = verify_traced(model, trace(model, ALL[name].example_inputs()))
    assert check.max_error <= check.tolerance
    assert len(check.batches) == 2


def test_an_input_that_is_ignored_is_named() -> None:
    net, x = Siamese().eval(), torch.randn(2, 6)
    program = torch.export.export(net, (x, x))
    with pytest.raises(
        TraceError, match=r"Siamese does: .* differs .*ignores the input (p|q)"
    ) as e:
        verify_traced(net, program)
    assert e.value.hint


def test_an_output_that_differs_is_named() -> None:
    net = Counting()
    with pytest.raises(TraceError, match="the output mul differs by"):
        gp.compress(net, (torch.randn(2, 4),), params=0.9)


@pytest.mark.parametrize("kind", ["one", "views", "overlapping", "keywords"])
def test_one_tensor_for_two_inputs_is_two_inputs(kind: str) -> None:
    torch.manual_seed(0)
    net, x = Siamese(), torch.randn(3, 6)
    args: dict[str, tuple[Any, ...]] = {
        "one": (x, x),
        "views": (x, x.view(3, 6)),
        "overlapping": (x[:2], x[1:]),
        "keywords": (),
    }
    kwargs = {"p": x, "q": x} if kind == "keywords" else {}
    result = gp.compress(net, args[kind], example_kwargs=kwargs, flops=0.5)
    assert isinstance(result.model, Siamese)
    p, q = torch.randn(4, 6), torch.randn(4, 6)
    with torch.no_grad():
        assert not torch.equal(result.model(p, q), result.model(q, q))
        assert not torch.equal(result.model(p, q), result.model(p, p))


def test_the_module_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).train()
    before = copy.deepcopy(net.state_dict())
    verify_traced(net, trace(net, (torch.randn(2, 4),)))
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


class Stepped(nn.Module):
    """Takes a number of the step, as a diffusion model does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        return self.layer(x) * step


@pytest.mark.parametrize("step", [torch.tensor(7), torch.tensor(0.5), torch.tensor(True)])
def test_a_single_number_is_drawn_too(step: Tensor) -> None:
    net = Stepped()
    assert not verify_traced(net, trace(net, (torch.randn(2, 4), step))).note


def test_inputs_that_the_code_refuses_are_said() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            if not torch.compiler.is_compiling() and not bool((x == 1).all()):
                raise ValueError("ones only")
            return self.layer(x)

    net = Picky()
    check = verify_traced(net, trace(net, (torch.ones(2, 4),)))
    assert "accepts no drawn inputs" in check.note
    assert check.max_error == 0


def test_rounding_is_not_mistaken_for_a_fault() -> None:
    """Where single precision loses more than the bound, the bound follows it."""
    check = TraceCheck(max_error=0.0, tolerance=1e-4, rounding=0.0, batches=(2,))
    assert check.tolerance < 1e-2

    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x) + 1e4
            return (y * y).mean(1) - y.mean(1) ** 2

    net = Cancelling()
    assert verify_traced(net, trace(net, (torch.randn(2, 64),))).max_error < 1e-2
