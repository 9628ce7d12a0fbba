"""Layers that shrink under the optimiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import graphprune as gp
from graphprune.cut.cut import Cut
from graphprune.training.in_place import shrink_in_place

from .loop import Net, data, net

SAME = 1e-12


def plan(model: nn.Module) -> gp.Plan:
    return gp.compress(model, (data()[0][:2],), flops=0.6, any_width=True).plan


def trained(model: nn.Module, kind: type[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    optimizer = kind(model.parameters(), lr=0.01)  # type: ignore[call-arg]
    step(model, optimizer)
    return optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    x, y = data()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.RMSprop])
def test_modules_stay_and_go_on_as_the_ones_of_apply(kind: type[torch.optim.Optimizer]) -> None:
    model = net()
    optimizer = trained(model, kind)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    chosen, x = plan(model), (data()[0][:2],)
    small, carried = gp.apply(chosen, model, x, optimizer=optimizer)
    layers, groups = list(model.modules()), optimizer.param_groups[0]
    assert isinstance(shrink_in_place(model, optimizer, chosen, x, None), Cut)
    assert list(model.modules()) == layers
    assert optimizer.param_groups[0] is groups
    assert repr(model) == repr(small)
    model.train()
    small.train()
    for each, its in ((model, optimizer), (small, carried)):
        step(each, its)
    for a, b in zip(model.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=SAME, rtol=SAME)
    schedule.step()
    assert groups["lr"] == 0.005


def test_a_compiled_model_shrinks_too() -> None:
    model = net()
    compiled: Any = torch.compile(model, backend="eager")
    optimizer = trained(compiled, torch.optim.SGD)
    cut = shrink_in_place(compiled, optimizer, plan(model), (data()[0][:2],), None)
    assert isinstance(cut, Cut)
    torch.testing.assert_close(compiled(data()[0]), model(data()[0]), atol=SAME, rtol=SAME)
    step(compiled, optimizer)


class Config:
    """Widths that a network's code reads."""

    def __init__(self) -> None:
        self.width = 16


class ReadsConfig(nn.Module):
    """Its code reads a width off an object."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config()
        self.up, self.down = nn.Linear(12, 16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)).view(-1, self.config.width))


class ReadsList(nn.Module):
    """Its code reads widths off a list."""

    def __init__(self) -> None:
        super().__init__()
        self.widths = [16, 16]
        self.up, self.first, self.second = nn.Linear(12, 32), nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.relu(self.up(x)).split(self.widths, 1)
        return self.first(first) + self.second(second)


class Attends(nn.Module):
    """torch's own attention, which states one width for its input and its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(24, 4, kdim=12, vdim=12)
        self.query, self.head = nn.Linear(12, 24), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query = torch.relu(self.query(x))
        return self.head(self.attention(query, x, x, need_weights=False)[0])


@pytest.mark.parametrize("kind", [ReadsConfig, ReadsList, Attends])
def test_all_that_follows_a_cut_follows_in_place(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = kind().double(), torch.randn(8, 12, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    chosen = gp.compress(model, x, flops=0.6, keep_class=True).plan
    small = gp.apply(chosen, model, x)
    assert isinstance(shrink_in_place(model, optimizer, chosen, (x,), None), Cut)
    torch.testing.assert_close(model(x), small(x), atol=SAME, rtol=SAME)
    again = gp.compress(model, x, flops=0.8, keep_class=True).plan
    assert isinstance(shrink_in_place(model, optimizer, again, (x,), None), Cut)


class Fixed(Net):
    """Its code names a width."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.down(torch.relu(self.up(x)).view(-1, 24, 6, 6))
        return self.head(torch.relu(x).mean((2, 3)))


def test_what_can_t_shrink_is_left_as_it_is_with_a_reason() -> None:
    averaged, fixed = torch.optim.swa_utils.AveragedModel(net()), Fixed().double()
    for model, reason in ((averaged, "AveragedModel holds"), (fixed, "doesn't follow")):
        optimizer = trained(model, torch.optim.SGD)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        chosen = plan(model)
        why = shrink_in_place(model, optimizer, chosen, (data()[0][:2],), None)
        assert isinstance(why, str)
        assert reason in why
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])
