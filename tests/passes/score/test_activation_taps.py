"""What the readers of a group are shown."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphprune.data.calibration import Calibration
from graphprune.passes.score.activation_taps import ActivationTap, find_taps, run_taps
from tests import nets
from tests.analysis.helpers import analysed as analysis_of
from tests.passes.score.networks import WIDTH, Plain, TwoLinears, analysed, images


def test_each_reader_of_each_group_is_found_with_its_rows() -> None:
    analysis, _ = analysed(Plain(), images())
    found = find_taps(analysis)
    assert [(r.group.id, str(r.node.target)) for r in found] == [
        ("a", "aten.conv2d.default"),
        ("b", "aten.linear.default"),
    ]
    for reading in found:
        assert reading.rows.tolist() == [[i] for i in range(reading.group.width)]
        assert reading.weight_rows.tolist() == reading.rows.tolist()
        assert (reading.activations.dim, reading.weight.dim) == (1, 1)
        assert not reading.moving


def test_both_factors_of_attention_are_moving() -> None:
    moving = {r.group.id for r in find_taps(analysis_of(nets.HeadsAndGroups())) if r.moving}
    assert moving


def test_rows_of_a_flattened_map_go_with_their_channel() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    (reading,) = find_taps(analysed(net, images())[0])
    assert np.array_equal(reading.rows, np.arange(144).reshape(4, 36))


def test_what_is_shown_is_what_the_layer_is_given() -> None:
    net = TwoLinears()
    x = torch.randn(40, 5)
    analysis, _ = analysed(net, x)
    wanted = find_taps(analysis)
    shown: list[Tensor] = []
    counts: list[int] = []

    def see(reading: ActivationTap, value: Tensor, weight: Tensor, count: int) -> None:
        assert reading is wanted[0]
        assert torch.equal(weight, net.b.weight)
        shown.append(value)
        counts.append(count)

    run_taps(analysis, wanted, Calibration(((x,),)), 33, see)
    assert sum(counts) == 33
    value = torch.cat(shown)
    assert value.shape == (33, WIDTH)
    torch.testing.assert_close(value, net.a(x[:33]))
    assert not value.requires_grad


def test_nothing_is_shown_that_is_not_wanted() -> None:
    analysis, seen = analysed(Plain(), images())
    shown: list[str] = []
    last = find_taps(analysis)[-1:]
    run_taps(analysis, last, seen.data, 8, lambda reading, *_: shown.append(reading.group.id))
    assert set(shown) == {"b"}


class FromTheLeft(torch.nn.Module):
    """Weights that are multiplied from the left, as in `weight @ x`."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.randn(WIDTH, 5))
        self.b = torch.nn.Parameter(torch.randn(4, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.b @ torch.relu(self.a @ x)


def test_a_weight_may_stand_on_the_left() -> None:
    net, x = FromTheLeft(), torch.randn(6, 5, 3)
    analysis, _ = analysed(net, x)
    (tap,) = find_taps(analysis)
    assert (tap.activations.argument, tap.activations.dim) == ("other", 1)
    assert (tap.weight.argument, tap.weight.dim, tap.moving) == ("self", 1, False)
    shown: list[Tensor] = []
    run_taps(analysis, (tap,), Calibration(((x,),)), 6, lambda _, value, *__: shown.append(value))
    torch.testing.assert_close(torch.cat(shown), torch.relu(net.a @ x).detach())
