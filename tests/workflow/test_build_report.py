"""The report of a run, held against what the run made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.ir.program import fingerprint
from graphprune.plan.plan import GroupPlan
from graphprune.version import __version__
from tests import nets


class Noisy(nn.Module):
    """Draws random numbers in evaluation too, and computes a part in another type."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.a(x)
        return self.b(torch.dropout(x.float(), 0.5, train=True))


def starts(result: gp.Result, start: str) -> list[str]:
    return [note for note in result.report.notes if note.startswith(start)]


@pytest.fixture(scope="module")
def result() -> gp.Result:
    torch.manual_seed(0)
    net = nets.NETS["OptionAShortcut"]()
    return gp.compress(net, net.inputs(), flops=0.5, params="90%")


def test_widths_and_costs_are_those_of_the_smaller_model(result: gp.Result) -> None:
    report = result.report
    kept = {group.id: len(group.keep) for group in result.plan.groups}
    assert {group.id: group.after for group in report.groups} == kept
    weights = [p.numel() for p in result.model.parameters()]
    assert report.after.params == sum(weights)
    assert report.before.params == sum(p.numel() for p in result.dense.parameters())
    assert sum(layer.after for layer in report.layers) == pytest.approx(report.after.macs)


def test_every_budget_is_there_and_the_first_one_says_whether_all_are_met(
    result: gp.Result,
) -> None:
    macs, params = result.report.budgets
    assert (macs["cost"], params["cost"]) == ("macs", "params")
    assert result.report.budget == {**macs, "met": True}
    assert macs["reached"] == result.report.after.macs <= macs["bound"]
    assert params["reached"] == result.report.after.params <= params["bound"]


def test_the_oracle_and_versions_are_on_record(result: gp.Result) -> None:
    oracle = result.report.oracle
    assert 0 <= oracle["max_error"] <= oracle["tolerance"]
    assert oracle["batches"] == [2, 3]
    assert result.report.versions == {"graphprune": __version__, "torch": torch.__version__}
    assert result.report.recovery == result.report.calibration == result.report.search == {}


def test_what_was_left_out_of_the_checks_is_noted() -> None:
    torch.manual_seed(0)
    net: Any = Noisy()
    result = gp.compress(net, (torch.randn(2, 6),), flops=0.5)
    (note,) = starts(result, "the model draws random numbers")
    assert "aten.dropout.default (test_build_report.py:" in note
    (note,) = starts(result, "autocast to ")
    assert note.startswith("autocast to bfloat16 ")


def test_without_data_a_note_says_so_and_with_data_where_it_is_from() -> None:
    torch.manual_seed(0)
    net = nets.NETS["OptionAShortcut"]()
    data = [torch.randn(16, 3, 8, 8)]
    without = gp.compress(net, net.inputs(), flops=0.5)
    with_data = gp.compress(net, net.inputs(), flops=0.5, calibration=data)
    start = "without calibration data"
    assert (len(starts(without, start)), len(starts(with_data, start))) == (1, 0)
    assert with_data.report.calibration["samples"] == 16
    recovery = with_data.report.recovery
    assert recovery["method"] == "ls"
    assert recovery["layers"] == len(recovery["fits"]) >= recovery["refitted"]


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
