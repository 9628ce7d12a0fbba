"""What runs of a network, and at which widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.latency import workload, written_bytes
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


class Grouped(nn.Module):
    """Grouped convolutions of any kind between two others."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, inputs, 1), nn.Conv2d(outputs, 4, 1)
        self.grouped = nn.Conv2d(inputs, outputs, 3, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.grouped(self.first(x)))


@pytest.mark.parametrize(
    ("sizes", "dense", "attribute"),
    [
        ((16, 16, 4), (4, 4), ("groups", (4,))),
        ((16, 32, 4), (4, 8), ("groups", (4,))),
        ((8, 16, 8), (1, 2), ("groups", (8,))),
        ((8, 8, 8), (8,), ("per_group", (1,))),
    ],
)
def test_widths_of_a_grouped_convolution_are_those_of_a_group(
    sizes: tuple[int, int, int], dense: tuple[int, ...], attribute: tuple[str, tuple[int, ...]]
) -> None:
    analysis = analyse(trace(Grouped(*sizes).eval(), (torch.randn(2, 3, 8, 8),)))
    _, call, _ = workload(analysis).operators
    assert call.kernel.widths == dense
    assert attribute in call.kernel.attributes
    widths = analysis.widths
    assert [p.at(widths) for p in call.widths] == list(dense)
    assert call.share.at(widths) == 1
    if attribute[0] == "groups":
        # The first group of channels is whole groups.
        halved = [*widths]
        halved[0] //= 2
        assert call.share.at(halved) == 0.5
        assert [p.at(halved) for p in call.widths] == list(dense)


class Windows(nn.Module):
    """Layers on windows that are counted with the samples, and on samples in the second place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x.reshape(-1, 4, 5)).relu()
        return self.last(y.reshape(x.shape[0], 16, 16).transpose(0, 1)).mean(0)


def test_samples_may_stand_anywhere_in_a_shape() -> None:
    work = workload(analyse(trace(Windows(), (torch.randn(2, 16, 5),))), 3)
    assert [o.kernel.shape for o in work.operators] == [(12, 4, 0), (16, 3, 0)]
    assert work.bytes.at([16]) == 4 * 3 * (16 * 16 + 4)


def test_a_call_without_samples_costs_the_same_for_any_number_of_them() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x[0]).mean((1, 2))[None])

    work = workload(analyse(trace(Single(), (torch.randn(2, 3, 8, 8),))), 5)
    assert work.macs.at([16]) == 16 * 36 * 27


def test_a_sum_of_two_linear_layers_is_counted_once() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 16), nn.Linear(5, 16), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu(self.a(x) + self.b(x)))

    work = workload(analyse(trace(Sum(), (torch.randn(2, 5),))))
    assert [o.kernel.tail for o in work.operators] == [(("Add",), ("Relu",)), (), ()]


@pytest.mark.parametrize(("activation", "passes"), [(nn.ReLU(), 1), (nn.SiLU(), 2), (nn.GELU(), 2)])
def test_an_activation_that_is_not_fused_writes_its_values_again(
    activation: nn.Module, passes: int
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), activation, nn.Conv2d(8, 4, 1))
    written = written_bytes(analyse(program(net)))
    assert written.at([6]) == 4 * 64 * (passes * 6 + 4)
