"""What a job starts with: a traced model, and its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.data import open_source
from graphprune.data.calibration import Calibration
from graphprune.data.labelled import Labelled
from graphprune.errors import LoadError, TraceError
from graphprune.ir.devices import CPU
from graphprune.pipeline import State
from graphprune.workflow.start import traced, traced_on_cpu, with_data, with_labelled
from tests import nets


@pytest.fixture
def net() -> nets.Net:
    return nets.NETS["OptionAShortcut"]()


def test_a_program_is_taken_as_it_is(net: nets.Net) -> None:
    program = gp.trace(net, net.inputs())
    stages: list[str] = []
    assert traced(program, (), None, stages.append).program is program
    assert stages == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_before_anything_is_done(value: float) -> None:
    broken = nn.Linear(3, 4)
    broken.weight.data[1, 2] = value
    with pytest.raises(LoadError, match="weight"):
        traced(broken, (torch.randn(2, 3),), None, None)


def test_a_copy_that_asks_for_its_device_gets_a_hint() -> None:
    class Elsewhere(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) + torch.ones(4, device="cuda")

    with pytest.raises((LoadError, TraceError), match="a copy of the model on the CPU") as failure:
        traced_on_cpu(Elsewhere(3, 4), (torch.randn(2, 3),), None, None, torch.device("cuda"))
    assert "x.device" in failure.value.hint


def test_data_says_how_much_of_it_there_is_and_where_it_runs(net: nets.Net) -> None:
    stages: list[str] = []
    state = State(gp.trace(net, net.inputs()), progress=stages.append)
    batch = torch.randn(16, 3, 8, 8)
    quiet = with_data(state, [batch], 8, CPU, tell=False)
    assert quiet[Calibration].samples == 8
    assert quiet[Calibration].notes == ()
    told = with_data(state, [batch], 16, CPU, tell=True)
    assert (told[Calibration].samples, told[Calibration].device) == (16, CPU)
    assert told[Calibration].notes == ("the network ran on cpu",)
    assert stages == ["data", "data", "data on cpu"]
    assert told.seconds["data"] >= 0


def test_labelled_inputs_run_where_the_network_does(net: nets.Net, tmp_path: Path) -> None:
    stages: list[str] = []
    state = State(gp.trace(net, net.inputs()), progress=stages.append)
    x, y = np.zeros((64, 3, 8, 8), np.float32), np.zeros(64, np.int64)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    found = with_labelled(state, open_source(tmp_path / "data.npz"), torch.device("meta"))[Labelled]
    assert found.data.device == torch.device("meta")
    assert sum(len(labels) for *_, labels in found.data.batches) == 64
    assert stages == ["data"]
