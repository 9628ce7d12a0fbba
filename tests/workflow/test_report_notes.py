"""Notes of a report, held against what the run did."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.ir.program import fingerprint
from graphprune.plan.plan import GroupPlan
from graphprune.report.checks import checks
from tests import nets


def starts(result: gp.Result, start: str) -> list[str]:
    return [note for note in result.report.notes if note.startswith(start)]


class Noisy(nn.Module):
    """Draws random numbers in evaluation too, and computes a part in another type."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.a(x)
        return self.b(torch.dropout(x.float(), 0.5, train=True))


def test_what_was_left_out_of_the_checks_is_noted() -> None:
    torch.manual_seed(0)
    net: Any = Noisy()
    result = gp.compress(net, (torch.randn(2, 6),), flops=0.5)
    (note,) = starts(result, "the model draws random numbers")
    assert "aten.dropout.default (test_report_notes.py:" in note
    (note,) = starts(result, "autocast to ")
    assert note.startswith("autocast to bfloat16 ")


def test_merging_is_noted_with_how_many_channels_found_another() -> None:
    torch.manual_seed(0)
    net = nets.NETS["OptionAShortcut"]()
    result = gp.compress(net, net.inputs(), flops=0.5, recover="merge")
    (note,) = starts(result, "merged ")
    removed = sum(group.width - len(group.keep) for group in result.plan.groups)
    assert note.endswith(f" of {removed} removed channels into kept ones")


class Narrow(nn.Module):
    """Layers of unlike use: a budget takes nearly all of the wide ones."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 4)
        self.ins = nn.ModuleList(nn.Linear(8, 64 + i) for i in range(count))
        self.outs = nn.ModuleList(nn.Linear(64 + i, 8) for i in range(count))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for a, b in zip(self.ins, self.outs, strict=True):
            x = x + b(torch.relu(a(x)))
        return self.head(x)


@pytest.mark.parametrize(("count", "keeps"), [(1, 8), (1, 7), (2, 1), (5, 3)])
def test_a_group_that_is_all_but_gone_is_named(count: int, keeps: int) -> None:
    """An eighth of 64 is 8, which is enough."""
    net, inputs = Narrow(count), (torch.randn(2, 6),)
    analysis = gp.inspect(net, inputs)
    groups = tuple(
        GroupPlan(g.id, g.width, tuple(range(keeps if g.id.startswith("ins") else g.width)))
        for g in analysis.groups
    )
    plan = gp.Plan(fingerprint(analysis.module), groups)
    notes = starts(gp.compress(net, inputs, plan=plan), "less than an eighth")
    assert len(notes) == (keeps < 8)
    for note in notes:
        named = [f"ins.{i} ({keeps} of {64 + i})" for i in reversed(range(count))]
        assert [name in note for name in named] == [True] * min(count, 3) + [False] * (count - 3)
        assert ("2 more" in note) == (count == 5)


def test_an_allocation_that_leaves_little_says_so() -> None:
    torch.manual_seed(0)
    net: Any = nets.NETS["OptionAShortcut"]()
    for flops in (0.02, 0.9):
        result = gp.compress(net, net.inputs(), flops=flops)
        thin = [g.id for g in result.plan.groups if 8 * len(g.keep) < g.width]
        assert bool(thin) == (flops < 0.1)
        assert len(starts(result, "less than an eighth")) == bool(thin)


def test_a_wrapper_is_named() -> None:
    net: Any = nets.NETS["OptionAShortcut"]()
    result = gp.compress(nn.DataParallel(net), net.inputs(), flops=0.5)
    assert starts(result, "the OptionAShortcut was taken out of what wraps it: DataParallel")
    assert not starts(gp.compress(net, net.inputs(), flops=0.5), "the OptionAShortcut")


class Auxiliary(nn.Module):
    """Has a classifier that only training reads."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.aux = nn.ModuleList(nn.Linear(4, 1) for _ in range(classes))

    def forward(self, x: torch.Tensor) -> Any:
        y = self.b(self.a(x).relu())
        return (y, [aux(x) for aux in self.aux]) if self.training else y


@pytest.mark.parametrize("classes", [0, 1, 20])
def test_parameters_that_only_training_reads_are_named(classes: int) -> None:
    result = gp.compress(Auxiliary(classes).eval(), (torch.randn(2, 4),), flops=0.5)
    notes = starts(result, "left as they are")
    assert len(notes) == bool(classes)
    assert all("aux.0.weight" in note and ("more" in note) == (classes > 9) for note in notes)


def test_gradient_hooks_have_to_be_registered_again() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    assert not starts(gp.compress(net, (torch.randn(2, 6),), flops=0.5), "register these again")
    net[0].weight.register_hook(lambda gradient: gradient * 2)
    net[2].bias.register_post_accumulate_grad_hook(lambda parameter: None)
    result = gp.compress(net, (torch.randn(2, 6),), flops=0.5)
    (note,) = starts(result, "register these again")
    assert note.endswith("the gradient hooks of 0.weight, 2.bias")


class Scored(nn.Module):
    """Finds nothing unless the score reaches a limit that is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor, least: Tensor) -> Tensor:
        score = torch.sigmoid(self.b(torch.relu(self.a(x))))
        return torch.where(score > least, score, 0.0)


@pytest.mark.parametrize(("least", "count"), [(50.0, 1), (0.5, 0)])
def test_proofs_on_inputs_that_the_network_does_not_answer_to_are_noted(
    least: float, count: int
) -> None:
    torch.manual_seed(0)
    net: Any = Scored()
    inputs = (torch.randn(2, 6), torch.tensor([least, least]).reshape(2, 1))
    result = gp.compress(net, inputs, flops=0.5)
    assert len(starts(result, "the proofs say nothing")) == count
    (masked,) = (c for c in checks(result.report) if "masked" in c.what)
    assert masked.ok is (None if count else True)
