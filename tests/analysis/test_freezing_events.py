"""Which entry of the log froze a label, and which labels are coupled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.freezing_events import coupling_classes, freezing_events
from graphprune.analysis.frozen import frozen
from graphprune.analysis.why import why
from graphprune.axes.labels import Labels


def test_what_is_coupled_only_by_what_froze_it_stays_apart() -> None:
    labels = Labels()
    one, two, three = (labels.fresh(2) for _ in range(3))
    labels.unite(one[:, 0], two[:, 0], 1)
    labels.freeze(two, 2)
    labels.freeze(three, 3)
    classes = coupling_classes(labels)
    assert classes[one[:, 0]].tolist() == classes[two[:, 0]].tolist()
    assert not set(classes[one[:, 0]].tolist()) & set(classes[three[:, 0]].tolist())
    assert 0 not in classes[three[:, 0]]


def test_a_refined_label_is_frozen_by_what_froze_its_last_part() -> None:
    labels = Labels()
    whole, gates, units = labels.fresh(6), labels.fresh(2), labels.fresh(3)
    pairs = np.stack([gates[[0, 0, 0, 1, 1, 1], 0], units[[0, 1, 2] * 2, 0]], axis=1)
    labels.refine(whole[:, 0], pairs, 1)
    labels.freeze(gates, 2)
    assert freezing_events(labels)[whole[:, 0]].tolist() == [-1] * 6
    labels.freeze(units, 3)
    assert {labels.log[event].link for event in freezing_events(labels)[whole[:, 0]]} == {3}
    assert {labels.log[event].link for event in freezing_events(labels)[gates[:, 0]]} == {2}


class Recurrent(nn.Module):
    """A recurrent layer whose states are the model's output."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.layer = layer(8, 12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.first(x))[0]


class Heads(nn.Module):
    """A view as heads that takes statistics over the heads, and gives their channels out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 24)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).view(len(x), 4, 6).softmax(1)


@pytest.mark.parametrize(
    ("net", "shape", "axis"),
    [
        (Recurrent(nn.GRU), (2, 3, 5), "layer.weight_ih_l0:0"),
        (Recurrent(nn.LSTM), (2, 3, 5), "layer.weight_hh_l0:1"),
        (Heads(), (2, 5), "first.weight:0"),
    ],
    ids=["gru", "lstm", "heads"],
)
def test_the_reason_is_what_holds_the_channels_and_not_the_gates_or_heads_around_them(
    net: nn.Module, shape: tuple[int, ...], axis: str
) -> None:
    analysis = gp.inspect(net, (torch.randn(shape),))
    (entry,) = (each for each in frozen(analysis) if axis in each.axes)
    assert entry.reason == "model output"
    assert why(analysis, axis)[-1].says == "model output"
