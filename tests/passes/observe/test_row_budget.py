"""How many rows are looked at, and kept."""

from __future__ import annotations

import pytest
import torch

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    Observations,
)
from graphprune.passes.observe import row_budget as quota
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
