"""Sizes that are known only once the model runs: how many rows a mask selects."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import Calibration
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Selecting(nn.Module):
    """A classifier some of whose results are selected by their values."""

    def __init__(self, select: Callable[[Selecting, Tensor], object]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 24), nn.Linear(24, 24), nn.Linear(24, 4)
        self.select = select

    def forward(self, x: Tensor) -> object:
        """``[B, 6]``, and what ``select`` makes of the features ``[B, 24]``."""
        return self.select(self, self.second(self.first(x).relu()).relu())


def rows(net: Selecting, y: Tensor) -> object:
    """Only the rows that a mask selects."""
    z = net.head(y)
    return z[z[:, 0] > 0]


def inner_rows(net: Selecting, y: Tensor) -> object:
    """The same before the last layer, and all rows as well."""
    return net.head(y[y.sum(1) > 0.5]), y.mean(1)


def joined(net: Selecting, y: Tensor) -> object:
    """A size that depends on values and on the batch."""
    z = net.head(y)
    found = torch.nonzero(z[:, 0] > 0).squeeze(1)
    return torch.cat([z[found], z]), z


@pytest.mark.parametrize("select", [rows, inner_rows, joined])
def test_a_selecting_network_is_cut(select: Callable[[Selecting, Tensor], object]) -> None:
    result = gp.compress(Selecting(select).eval(), (torch.randn(4, 6),), flops=0.5)
    assert result.report.after.macs <= 0.5 * result.report.before.macs
    assert isinstance(result.model, Selecting)


def test_a_mean_over_fewer_channels_is_another_one_in_the_class() -> None:
    net = Selecting(inner_rows).eval()
    result = gp.compress(net, (torch.randn(4, 6),), flops=0.5, any_width=True)
    assert not isinstance(result.model, Selecting)


@pytest.mark.parametrize("select", [inner_rows, joined])
def test_it_is_repaired_by_the_outputs_of_known_sizes(
    select: Callable[[Selecting, Tensor], object],
) -> None:
    data = [(torch.randn(32, 6),) for _ in range(8)]
    result = gp.compress(Selecting(select).eval(), data[0], flops=0.5, calibration=data, distil=3)
    assert result.report.recovery["after"] < result.report.recovery["before"]


def test_layers_behind_a_selection_are_not_refitted() -> None:
    data = [(torch.randn(8, 6),)]
    analysis = analyse(trace(Selecting(inner_rows).eval(), data[0]))
    seen = Observations(analysis, Calibration(tuple(data)))
    assert [layer.weight.target for layer in seen.layers] == ["first.weight", "second.weight"]
    assert seen.compared == (False, True)


def test_without_an_output_to_compare_data_are_refused() -> None:
    data = [(torch.randn(8, 6),)]
    with pytest.raises(OptionError, match="no output of the model can be compared"):
        gp.compress(Selecting(rows).eval(), data[0], flops=0.5, calibration=data)


def test_an_axis_has_the_rows_of_the_example_inputs() -> None:
    net, x = Selecting(joined).eval(), torch.randn(4, 6)
    analysis = analyse(trace(net, (x,)))
    (joint,) = (n for n in analysis.module.graph.nodes if "cat" in n.name)
    selected = int((net(x)[1][:, 0] > 0).sum())
    assert selected > 0
    assert [len(axis) for axis in analysis.layouts[joint]] == [selected + 4, 4]  # type: ignore[union-attr]
