"""How many rows are looked at, and kept."""

from __future__ import annotations

import pytest
import torch

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    Observations,
    regression_sizes,
)
from graphprune.passes.observe import row_budget as quota
from graphprune.passes.observe.find_layers import find_layers
from tests.nets import NETS


@pytest.mark.parametrize("name", ["NormedResidual", "TwoInTwoOut", "HeadsAndGroups", "LinearToMap"])
def test_targets_of_all_layers_together_are_bounded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = NETS[name]().eval()
    program = trace(net, net.inputs(), net.keywords())
    data = [tuple(torch.cat([x] * 100) for x in net.inputs())]
    analysis, calibration = analyse(program), gather(data, program)

    def held() -> dict[object, int]:
        targets = Observations(analysis, calibration).record.targets
        return {key: value.numel() for key, value in targets.items()}

    free = held()
    monkeypatch.setattr(quota, "TARGETS", sum(free.values()) // 3)
    bounded = held()
    assert sum(free.values()) / 4 < sum(bounded.values()) <= sum(free.values()) / 3 * 1.05
    assert all(0 < bounded[key] <= free[key] for key in free)
    monkeypatch.setattr(quota, "TARGETS", sum(free.values()) * 1.01)
    assert held() == free


@pytest.mark.parametrize("samples", [1, 40, 3000])
def test_every_layer_is_looked_at_and_no_more_than_is_there_for(samples: int) -> None:
    net = NETS["NormedResidual"]().eval()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    data = gather([torch.randn(samples, 3, 8, 8)], program)
    layers = find_layers(analysis.module)
    found = quota.rows_per_batch(analysis.module, layers, data)
    assert found.keys() == set(layers)
    for layer, rows in found.items():
        groups, unknowns = regression_sizes(layer)
        assert rows >= 1
        assert rows * len(data.batches) * groups * unknowns <= quota.ROOM * 1.01
        wanted = max(quota.FEWEST * data.samples, quota.ROWS_PER_UNKNOWN * unknowns)
        assert rows * len(data.batches) >= min(wanted, quota.ENOUGH) * 0.99


PER_ROW = 2048 * 9


@pytest.mark.parametrize(
    ("groups", "rows"), [(2048, quota.ROOM // PER_ROW // 4), (8, quota.ROOM // PER_ROW)]
)
def test_few_unknowns_in_many_groups_need_no_more_rows(groups: int, rows: int) -> None:
    layer = torch.nn.Conv2d(2048, 2048, 3, padding=1, groups=groups)
    program = trace(layer, (torch.randn(2, 2048, 4, 4),))
    module = analyse(program).module
    data = gather([torch.zeros(1, 2048, 4, 4).expand(1000, -1, -1, -1)], program, samples=1000)
    (found,) = find_layers(module)
    drawn = quota.rows_per_batch(module, [found], data)[found] * len(data.batches)
    assert drawn == pytest.approx(rows, rel=0.01)


def test_calls_that_share_a_weight_share_its_rows() -> None:
    class Twice(torch.nn.Module):
        def __init__(self, *, shared: bool) -> None:
            super().__init__()
            self.a = torch.nn.Linear(6, 6)
            self.b = self.a if shared else torch.nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).relu())

    counts = []
    for shared in (False, True):
        program = trace(Twice(shared=shared), (torch.randn(2, 6),))
        module = analyse(program).module
        data = gather([torch.randn(100, 6)], program)
        counts.append(list(quota.rows_per_batch(module, find_layers(module), data).values()))
    assert counts[1] == pytest.approx([each / 2 for each in counts[0]], rel=0.01)
