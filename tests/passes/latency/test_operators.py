"""What runs of a network, and at which widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.latency import workload
from tests.passes.latency.helpers import Block, program


class Scaled(nn.Module):
    """A number that is computed from all samples scales what a layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x * torch.sigmoid(x.mean()))


def test_what_runs_of_a_network() -> None:
    work = workload(analyse(program()))
    assert [(o.kernel.kind, o.kernel.widths, o.kernel.tail) for o in work.operators] == [
        ("conv", (3, 24), (("Relu",),)),
        ("conv", (24, 16), (("Relu",),)),
        ("conv", (16,), (("Clip", 0.0, 6.0),)),
        ("conv", (16, 24), (("Add",), ("Relu",))),
        ("MaxPool", (24,), ()),
        ("mean", (24,), ()),
        ("linear", (24, 10), ()),
    ]
    assert not work.others


def test_the_batch_is_part_of_the_shapes() -> None:
    net = Block().eval()
    dynamic = trace(net, (torch.randn(2, 3, 8, 8),))
    assert {o.kernel.shape[0] for o in workload(analyse(dynamic), 5).operators} == {5}


@pytest.mark.parametrize("heights", [None, torch.export.Dim("height", min=6)])
def test_values_without_axes_run_once_for_all_samples(heights: torch.export.Dim | None) -> None:
    shapes = (
        {0: torch.export.Dim("batch"), 2: heights} if heights else {0: torch.export.Dim("batch")},
    )
    dynamic = torch.export.export(
        Scaled().eval(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=shapes
    )
    work = workload(analyse(dynamic), 5)
    assert [o.kernel.shape for o in work.operators] == [(5, 0, 8, 8), (5, 0, 6, 6)]
    assert work.others == {"aten.mean.default": 1, "aten.sigmoid.default": 1, "aten.mul.Tensor": 1}
    assert work.bytes.at([16]) == 4 * (1 + 1 + 5 * 16 * 36)
