"""Compressions that keep some of a network's outputs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import graphprune as gp
from graphprune.errors import MismatchError, OptionError
from graphprune.models import unetpp
from tests.ir.test_keep_outputs import TwoTasks

X = torch.randn(2, 3, 16, 16)


def nested() -> torch.nn.Module:
    torch.manual_seed(0)
    return unetpp.build(widths=(4, 6, 8, 8)).eval()


@pytest.mark.parametrize("kept", ["0", "2"])
def test_one_output_of_a_nested_network_is_the_network_that_it_needs(kept: str) -> None:
    net = nested()
    result = gp.compress(net, (X,), outputs=[kept])
    assert torch.allclose(result.model(X), net(X)[int(kept)], atol=1e-6)
    with FlopCounterMode(display=False) as counter:
        result.program.module()(X)
    assert result.report.after.macs == result.report.before.macs
    assert result.report.before.macs == counter.get_total_flops() / 2 / len(X)
    note = next(note for note in result.report.notes if "outputs left out" in note)
    assert f"{sum(p.numel() for p in net.parameters()):,} parameters" in note
    assert f"{int(result.report.before.params):,} of" in note
    assert not result.report.eager["own_class"]
    assert "left out" in result.report.eager["reason"]


def test_a_budget_counts_from_what_is_left_and_a_plan_is_replayed_on_it() -> None:
    net = nested()
    result = gp.compress(
        net, (X,), outputs=["1"], flops=0.5, calibration=[torch.randn(32, 3, 16, 16)]
    )
    assert result.report.after.macs <= 0.5 * result.report.before.macs
    assert result.report.oracle["max_error"] <= result.report.oracle["tolerance"]
    again = gp.compress(net, (X,), outputs=["1"], plan=gp.Plan.from_json(result.plan.to_json()))
    assert again.plan.keep == result.plan.keep
    with pytest.raises(MismatchError):
        gp.compress(net, (X,), plan=result.plan)


def test_whole_branches_go_from_what_is_left() -> None:
    result = gp.compress(nested(), (X,), outputs=["2"], flops=0.1, depth=True)
    assert result.model(torch.cat([X, X])).shape == (4, 4, 16, 16)
    assert result.report.after.macs <= 0.1 * result.report.before.macs


def test_all_outputs_are_the_network_itself() -> None:
    net = TwoTasks().eval()
    result = gp.compress(net, (X,), outputs=["two", "one"])
    assert result.report.eager["own_class"]
    assert not any("left out" in note for note in result.report.notes)


@pytest.mark.parametrize("wrong", ["three", "on", "0"])
def test_an_unknown_output_is_refused_with_the_names(wrong: str) -> None:
    with pytest.raises(OptionError) as problem:
        gp.compress(TwoTasks().eval(), (X,), outputs=[wrong])
    assert "one, two" in str(problem.value.hint)


def test_what_needs_the_class_is_refused() -> None:
    with pytest.raises(OptionError, match="left out"):
        gp.compress(TwoTasks().eval(), (X,), outputs=["one"], flops=0.5, keep_class=True)


def test_an_optimizer_follows() -> None:
    net = TwoTasks()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    torch.stack([out.square().mean() for out in net(X).values()]).sum().backward()
    optimizer.step()
    result = gp.compress(net.eval(), (X,), outputs=["one"], flops=0.6)
    carried = result.carry(optimizer)
    names = {id(p): name for name, p in result.model.named_parameters()}
    held = [names[id(p)] for group in carried.param_groups for p in group["params"]]
    assert sorted(held) == sorted(names.values())
    assert all("momentum_buffer" in state for state in carried.state.values())
