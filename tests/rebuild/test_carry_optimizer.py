"""Optimisers that go on with the smaller model, held against the masked dense one's next step."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

import graphprune as gp
from graphprune.errors import OptionError
from tests import nets

TOLERANCE = 1e-12
"""Sums over fewer terms, float64."""


class Lion(torch.optim.Optimizer):
    """The sign of a momentum (arXiv 2302.06675, algorithm 2); not in torch."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.01})
        self.calls = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.calls += 1
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                momentum = state.setdefault("ema", torch.zeros_like(p))
                state["count"] = state.get("count", 0) + 1
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * torch.sign(first * momentum + (1 - first) * p.grad))
                momentum.mul_(second).add_(p.grad, alpha=1 - second)


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.d = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.f, self.unused = nn.Linear(16 * 16, 5), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(F.relu(self.d(F.relu(self.n(self.a(x))))).flatten(1))


class Tied(nn.Module):
    """One layer in two places, and a residual stream that stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 24, 1)
        self.b = self.again = nn.Conv2d(24, 24, 1)
        self.c = nn.Conv2d(24, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.c(F.relu(self.again(F.relu(self.b(x) + x)))).mean((2, 3))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.g, self.b = nn.Conv2d(3, 20, 3), nn.Linear(20, 20), nn.Conv2d(20, 5, 1)
        self.scale = nn.Parameter(torch.rand(20, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x)) * self.scale
        gate = torch.tanh(self.g(x.mean((2, 3))))
        return self.b(x * gate[:, :, None, None]).mean((2, 3))


Make = Callable[[Iterable[Any]], torch.optim.Optimizer]

OPTIMISERS: Mapping[str, Make] = {
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, amsgrad=True),
    "Lion": lambda p: Lion(p, 0.01),
}

INPUTS = (torch.randn(4, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),)
CLASSES = torch.tensor([0, 3, 1, 4])


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(*INPUTS), CLASSES).backward()
    optimizer.step()


def trained(kind: type[nn.Module], make: Make) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = kind().double()
    optimizer = make(net.parameters())
    for _ in range(3):
        step(net, optimizer)
    return net, optimizer


def rows(plan: gp.Plan, name: str, size: Callable[[int], int]) -> dict[int, list[int]]:
    """The rows of a parameter that a plan keeps, by dimension; a channel has a run of rows."""
    found: dict[int, list[int]] = {}
    for group in plan.groups:
        for axis in group.axes:
            tensor, _, dim = axis.rpartition(":")
            if tensor == name:
                run = size(int(dim)) // group.width
                found[int(dim)] = [k * run + i for k in group.keep for i in range(run)]
    return found


def mask(net: nn.Module, plan: gp.Plan) -> None:
    """Put zeros in all rows that the plan removes."""
    for name, parameter in net.named_parameters(remove_duplicate=False):
        for dim, kept in rows(plan, name, parameter.size).items():
            gone = torch.tensor([i for i in range(parameter.size(dim)) if i not in kept])
            parameter.data.index_fill_(dim, gone.long(), 0.0)


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("kind", [Flattened, Tied, Gated])
def test_its_next_steps_are_those_of_the_masked_dense_model(
    kind: type[nn.Module], make: Make
) -> None:
    net, optimizer = trained(kind, make)
    before = copy.deepcopy(optimizer.state_dict())
    result = gp.compress(net, INPUTS, flops=0.6)
    carried = result.carry(optimizer)
    assert type(carried) is type(optimizer)
    dense = copy.deepcopy(net)
    other = make(dense.parameters())
    other.load_state_dict(copy.deepcopy(before))
    small = result.model.train()
    for _ in range(2):
        mask(dense, result.plan)  # the moments of what is removed would move it
        step(dense, other)
        step(small, carried)
    moved = 0
    for name, parameter in small.named_parameters():
        expected = dense.get_parameter(name)
        for dim, kept in rows(result.plan, name, expected.size).items():
            expected = expected.index_select(dim, torch.tensor(kept))
        moved += parameter.shape != dense.get_parameter(name).shape
        assert torch.allclose(parameter, expected, rtol=0, atol=TOLERANCE)
    assert moved >= 3
    after = optimizer.state_dict()  # the one that was given is as it was
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)
    assert after["param_groups"] == before["param_groups"]


def test_groups_keep_their_order_and_options() -> None:
    torch.manual_seed(0)
    net = Flattened()
    parameters = dict(net.named_parameters())
    weights = [(n, p) for n, p in parameters.items() if p.ndim > 1]
    others = [(n, p) for n, p in parameters.items() if p.ndim == 1]
    optimizer = torch.optim.Adam([
        {"params": list(reversed(weights)), "lr": torch.tensor(0.1), "weight_decay": 0.3},
        {"params": others, "lr": 0.2},
    ])
    result = gp.compress(net, (INPUTS[0].float(),), flops=0.5)
    carried = result.carry(optimizer)
    small = dict(result.model.named_parameters())
    for old, new in zip(optimizer.param_groups, carried.param_groups, strict=True):
        assert {k: v for k, v in old.items() if k != "params"} == {
            k: v for k, v in new.items() if k != "params"
        }
        names = [next(n for n, p in small.items() if p is each) for each in new["params"]]
        assert names == new["param_names"]
    carried.param_groups[0]["lr"].fill_(7.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_a_schedulers_hold_on_the_dense_optimiser_is_loosened() -> None:
    net, optimizer = trained(Flattened, OPTIMISERS["Lion"])
    StepLR(optimizer, 1)
    result = gp.compress(net, INPUTS, flops=0.5)
    carried = result.carry(optimizer)
    before = copy.deepcopy(net.state_dict())
    small = copy.deepcopy(result.model.state_dict())
    step(result.model, carried)
    assert (optimizer.calls, carried.calls) == (3, 4)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not torch.equal(small["a.weight"], result.model.state_dict()["a.weight"])
    assert carried.param_groups[0]["initial_lr"] == 0.01
    StepLR(carried, 1, last_epoch=1)


def test_parameters_of_the_loss_stay(caplog: pytest.LogCaptureFixture) -> None:
    net = Flattened()
    margin = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([*net.parameters(), margin], 0.1, momentum=0.9)
    margin.grad = torch.ones(3)
    optimizer.step()
    result = gp.compress(net, (INPUTS[0].float(),), flops=0.5)
    carried = result.carry(optimizer)
    assert carried.param_groups[0]["params"][-1] is margin
    buffers = [each.state[margin]["momentum_buffer"] for each in (optimizer, carried)]
    assert torch.equal(*buffers)
    assert buffers[0] is not buffers[1]
    assert not [each for each in caplog.records if each.name.startswith("graphprune")]


def test_what_stores_a_computed_weight_is_trained_too(caplog: pytest.LogCaptureFixture) -> None:
    net = nets.NETS["WeightStandardised"]()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(*net.inputs()).sum().backward()
    optimizer.step()
    result = gp.compress(net, net.inputs(), flops=0.5, any_width=True)
    assert not result.report.eager["own_class"]
    with caplog.at_level(logging.WARNING):
        carried = result.carry(optimizer)
    trained_ones = [id(p) for group in carried.param_groups for p in group["params"]]
    assert trained_ones == [id(p) for p in result.model.parameters()]
    baked = [n for n, _ in result.model.named_parameters() if n.endswith("_baked")]
    assert baked
    assert all(name in caplog.text for name in baked)


@pytest.mark.parametrize("name", ["adamp", "adopt", "laprop", "lion", "madgrad", "radamw", "sgdw"])
def test_optimisers_of_timm(name: str) -> None:
    if find_spec("torchvision"):
        from benchmarks.zoo_nets import import_torchvision

        import_torchvision()  # which timm imports, also where it doesn't fit the installed torch
    timm = pytest.importorskip("timm.optim")
    make = lambda p: timm.create_optimizer_v2(list(p), name, lr=0.01)  # noqa: E731
    test_its_next_steps_are_those_of_the_masked_dense_model(Flattened, make)


def test_lion_as_it_is_published() -> None:
    lion = pytest.importorskip("lion_pytorch")
    make = lambda p: lion.Lion(p, 0.01)  # noqa: E731
    test_its_next_steps_are_those_of_the_masked_dense_model(Gated, make)


def test_an_optimiser_of_another_model_is_refused() -> None:
    net = Flattened()
    result = gp.compress(net, (INPUTS[0].float(),), flops=0.5)
    with pytest.raises(OptionError, match="no parameter of the SGD"):
        result.carry(torch.optim.SGD(copy.deepcopy(net).parameters(), 0.1))
    with pytest.raises(OptionError, match="a list can't be carried"):
        result.carry([])  # type: ignore[call-overload]


def test_a_program_has_an_optimiser_too() -> None:
    torch.manual_seed(0)
    program = gp.trace(Flattened(), (INPUTS[0].float(),))
    optimizer = torch.optim.SGD(program.parameters(), 0.1, momentum=0.9)
    model = program.module()
    model(INPUTS[0].float()).sum().backward()
    optimizer.step()
    result = gp.compress(program, flops=0.5)
    carried = result.carry(optimizer)
    for parameter, state in carried.state.items():
        assert state["momentum_buffer"].shape == parameter.shape
    assert len(carried.state) == 7


class Trainer:
    """Counts the steps of optimisers by a method of its own."""

    def __init__(self) -> None:
        self.steps: list[torch.optim.Optimizer] = []

    def count(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.steps.append(optimizer)

    def __call__(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.steps.append(optimizer)


@pytest.mark.parametrize(
    "form", [lambda t: t.count, lambda t: partial(Trainer.count, t), lambda t: t]
)
def test_hooks_may_be_methods_and_other_callables(form: Callable[[Trainer], Any]) -> None:
    net, trainer = nets.SqueezeExcite(), Trainer()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.register_step_post_hook(form(trainer))
    result = gp.compress(net, net.inputs(), flops=0.5, any_width=True)
    carried = result.carry(optimizer)
    result.model(*net.inputs()).sum().backward()
    carried.step()
    assert trainer.steps == [carried]
    carried.register_step_post_hook(lambda *_: None)
    optimizer.step()
    assert trainer.steps == [carried, optimizer]
