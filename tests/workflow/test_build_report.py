"""The report of a run, held against what the run made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphprune as gp
from graphprune.report.html.read_report import read
from graphprune.report.report import Report
from graphprune.version import __version__
from tests import nets
from tests.analysis.test_removable import Bottlenecks
from tests.configured_nets import make, tokens
from tests.passes.lossless.helpers import IMAGES, Block
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


def classifier() -> torch.nn.Module:
    """A network in which a channel is zero, so that some go with no loss."""
    torch.manual_seed(0)
    net = Block().eval()
    with torch.no_grad():
        net.a.weight[0] = 0
    return net


def labelled(folder: Path) -> Path:
    """Images with the classes that the network gives them."""
    images = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        classes = classifier()(images).argmax(1)
    np.savez(folder / "labelled.npz", x=images.numpy(), y=classes.numpy())
    return folder / "labelled.npz"


def read_again(report: Report, folder: Path) -> Report:
    (folder / "report.json").write_text(report.to_json())
    return read(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"calibration": [IMAGES.repeat(8, 1, 1, 1)]},
        {"calibration": [IMAGES.repeat(8, 1, 1, 1)], "recover": "bn"},
        {"calibration": [IMAGES.repeat(8, 1, 1, 1)], "distil": 2},
        {"lossless": True},
        {"depth": True},
        {"recover": "merge", "allow_inexact": True},
    ],
)
def test_the_report_of_each_kind_of_run_can_be_read_again(
    options: dict[str, Any], tmp_path: Path
) -> None:
    report = gp.compress(classifier(), (IMAGES,), flops=0.5, **options).report
    assert read_again(report, tmp_path).to_json() == report.to_json()


def test_the_report_of_a_training_with_labels_can_be_read_again(tmp_path: Path) -> None:
    train = labelled(tmp_path)
    report = gp.compress(classifier(), (IMAGES,), flops=0.5, train=train, finetune=1).report
    assert report.finetuned["epochs"] == 1
    assert read_again(report, tmp_path).to_json() == report.to_json()


def test_the_report_of_a_search_can_be_read_again(tmp_path: Path) -> None:
    val = labelled(tmp_path)
    report = gp.compress_within(classifier(), (IMAGES,), max_drop=0.5, val=val).report
    assert report.search["probes"]
    assert read_again(report, tmp_path).to_json() == report.to_json()


def test_the_report_of_a_run_without_some_branches_can_be_read_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = gp.compress(Bottlenecks().eval(), (IMAGES,), flops=0.35, depth=True).report
    assert 0 in [group.after for group in report.groups]
    assert read_again(report, tmp_path).to_json() == report.to_json()


def test_the_report_of_a_model_with_a_config_can_be_read_again(tmp_path: Path) -> None:
    result = gp.compress(make(), tokens(), flops=0.4, keep_config=True)
    report = result.save_pretrained(tmp_path / "hf").report
    assert report.pretrained["config"]
    assert read_again(report, tmp_path).to_json() == report.to_json()


def test_the_report_of_an_exported_model_can_be_read_again(
    result: gp.Result, tmp_path: Path
) -> None:
    report = result.export_onnx(tmp_path / "a.onnx", fp16=tmp_path / "b.onnx").report
    assert read_again(report, tmp_path).to_json() == report.to_json()
