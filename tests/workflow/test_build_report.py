"""The report of a run, held against what the run made."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from graphprune.version import __version__
from tests import nets
from tests.workflow.test_report_notes import starts


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
