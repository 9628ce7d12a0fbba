"""Several budgets of one model: the points of a sweep, and a search by accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.errors import InfeasibleBudgetError, OptionError
from graphprune.ir.trace import trace
from graphprune.passes import Allocate, Decision
from graphprune.passes.latency import branch_workload
from graphprune.report.budget_curve import Point
from graphprune.workflow.accuracy_search import Probe
from tests import nets
from tests.analysis.test_removable import Bottlenecks
from tests.passes.latency.test_branch_workload import table_of

IMAGES = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> nets.Net:
    """A network that gives the images different classes."""
    torch.manual_seed(0)
    net = nets.NETS["OptionAShortcut"]().eval()
    with torch.no_grad():
        net.head[-1].bias -= net(IMAGES).mean(0)
    return net


@pytest.fixture(scope="module")
def val(net: nets.Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images, and the classes that the dense network gives them."""
    path = tmp_path_factory.mktemp("val") / "val.npz"
    np.savez(path, x=IMAGES.numpy(), y=classes(net).numpy())
    return path


def classes(net: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(IMAGES).argmax(1)


def test_points_are_those_of_single_decisions(net: nets.Net) -> None:
    points = gp.sweep(net, net.inputs(), (0.4, 0.8))
    assert [p.asked for p in points] == [0.4, 0.8]
    for point in points:
        allocator = Allocate(budget=gp.Budget.flops(point.asked))
        decision = gp.decide(net, net.inputs(), allocator=allocator)[Decision]
        (met,) = decision.budgets
        assert point.flops == pytest.approx(met.reached / met.dense)
        assert point.distortion == pytest.approx(decision.allocation.distortion)
        assert point.flops <= point.asked
        assert point.latency is None
        assert point.accuracy is None


def test_points_without_some_branches_count_what_is_left() -> None:
    torch.manual_seed(0)
    net, x = Bottlenecks().eval(), torch.randn(1, 3, 8, 8)
    table = table_of(branch_workload(analyse(trace(net, (x,)))))
    points = gp.sweep(net, (x,), (0.2, 0.9), depth=True, latency_table=table)
    small = gp.compress(net, (x,), flops=0.2, depth=True)
    assert small.plan.removed
    before, after = small.report.before, small.report.after
    assert points[0].flops == pytest.approx(after.macs / before.macs)
    assert points[0].params == pytest.approx(after.params / before.params)
    assert points[0].latency is not None
    assert points[1].latency is not None
    assert points[0].latency < points[1].latency


def test_with_data_a_sweep_decides_as_a_compression_does(net: nets.Net) -> None:
    """The widths that the repaired networks' errors choose, not those of the first curves."""
    data = [torch.randn(32, *net.inputs()[0].shape[1:], generator=torch.Generator().manual_seed(1))]
    (point,) = gp.sweep(net, net.inputs(), (0.5,), calibration=data)
    report = gp.compress(net, net.inputs(), flops=0.5, calibration=data).report
    assert report.allocation["distortion"] == point.distortion
    assert report.after.macs / report.before.macs == point.flops
    assert report.after.params / report.before.params == point.params


def test_a_point_is_told_as_soon_as_it_is_known_and_stages_name_the_budget(net: nets.Net) -> None:
    news: list[object] = []
    points = gp.sweep(net, net.inputs(), (0.5, 0.9), tell=news.append, progress=news.append)
    assert [each for each in news if isinstance(each, Point)] == list(points)
    first = news.index(points[0])
    assert "budget-0.5" in news[:first]
    assert "budget-0.9" in news[first:]


def test_a_budget_that_no_plan_meets_is_a_point_without_numbers(net: nets.Net) -> None:
    missed, met = gp.sweep(net, net.inputs(), (0.0001, 0.9))
    assert missed == Point(0.0001)
    assert met.flops is not None


def test_each_plan_is_measured_on_labelled_data(net: nets.Net, val: Path) -> None:
    whole, small = gp.sweep(net, net.inputs(), (1.0, 0.1), val=val)
    assert len(classes(net).unique()) > 2
    assert whole.accuracy == 1
    model = gp.compress(net, net.inputs(), flops=0.1).model
    right = (classes(model) == classes(net)).double().mean()
    assert small.accuracy == pytest.approx(float(right)) != 1


def test_the_search_ends_within_the_drop_and_says_what_it_tried(net: nets.Net, val: Path) -> None:
    told: list[Probe] = []
    result = gp.compress_within(
        net, net.inputs(), max_drop="20%", val=val, tell=told.append, score="l1"
    )
    search = result.report.search
    assert (search["max_drop"], search["dense"]) == (0.2, 1.0)
    assert search["accuracy"] >= 0.8 - 1e-9
    assert [probe["budget"] for probe in search["probes"]] == [probe.budget for probe in told]
    reached = result.report.after.macs / result.report.before.macs
    assert reached == min(probe.cost for probe in told if probe.holds and probe.cost is not None)
    assert result.report.settings["score"] == "l1"


def test_no_network_within_the_drop_is_an_error(net: nets.Net, val: Path) -> None:
    with pytest.raises(InfeasibleBudgetError, match="no smaller network was found"):
        gp.compress_within(net, net.inputs(), max_drop=0, val=val, protect=["*"])


@pytest.mark.parametrize("name", ["flops", "size", "plan"])
def test_a_search_takes_no_budget_of_its_own(net: nets.Net, val: Path, name: str) -> None:
    with pytest.raises(OptionError, match="max_drop decides the budget") as caught:
        gp.compress_within(net, net.inputs(), max_drop=0.1, val=val, **{name: 0.5})
    assert caught.value.options == (name,)
