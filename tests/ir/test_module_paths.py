"""The parts of a model, by the names that torch gives them in a trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.ir.module_paths import module_at, module_call_of, modules_of, owner_of
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("0.slice(None, -1, None).1", 1),
        ("0.slice(1, None, None).2", 2),
        ("1.slice(1, None, None).0", 4),
        ("1.slice(None, None, 2).1", 5),
        ("1.0", 3),
    ],
)
def test_parts_are_found_through_slices(path: str, number: int) -> None:
    parts = [nn.Identity() for _ in range(6)]
    model = nn.Sequential(nn.Sequential(*parts[:3]), nn.ModuleList(parts[3:]))
    assert module_at(model, path) is parts[number]
    assert module_at(model, "") is model


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + 1


def test_calls_know_whose_code_made_them() -> None:
    nodes = unlift(trace(Outer(), (torch.randn(2, 3),))).graph.nodes
    linear, relu, add = (node for node in nodes if node.op == "call_function")
    assert [owner_of(node) for node in (linear, relu, add)] == ["inner.0", "inner.1", ""]
    assert modules_of(linear) == ["inner", "inner.0"]
    assert modules_of(add) == []


def test_calls_that_torch_made_itself_belong_to_the_whole() -> None:
    graph = torch.fx.Graph()
    node = graph.call_function(torch.relu, ())
    assert (owner_of(node), modules_of(node)) == ("", [])
    node.meta["nn_module_stack"] = {"a": ("a", nn.ReLU), "b": ("_empty_nn_module_stack_1", "")}
    assert (owner_of(node), modules_of(node)) == ("", ["a"])


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x))


def test_two_calls_of_a_module_are_told_apart() -> None:
    nodes = unlift(trace(Twice(), (torch.randn(2, 3),))).graph.nodes
    first, second = (node for node in nodes if node.op == "call_function")
    assert owner_of(first) == owner_of(second) == "inner"
    assert module_call_of(first) != module_call_of(second)
    assert module_call_of(torch.fx.Graph().call_function(torch.relu, ())) == ""
