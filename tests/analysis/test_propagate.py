"""The sweep: labels flow through every operator until nothing changes any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from graphprune.analysis.analyse import analyse
from graphprune.analysis.frozen import frozen
from graphprune.analysis.propagate import Propagation
from graphprune.axes.labels import FROZEN
from graphprune.ir.data_sizes import DataSizes
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from tests import nets


def swept(net: nn.Module, *inputs: Tensor, free_inputs: bool = False) -> Propagation:
    sweep = Propagation(
        unlift(trace(net, inputs)), free_inputs, allow_inexact=False, data_sizes=DataSizes()
    )
    sweep.to_fixpoint()
    return sweep


def is_frozen(sweep: Propagation, name: str, dim: int) -> bool:
    rows = sweep.labels.resolve(sweep.axes[name][dim])
    return bool((rows == FROZEN).all()) if rows.shape[1] else True


def test_a_layer_and_its_reader_share_the_labels_of_what_is_between() -> None:
    sweep = swept(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(2, 4))
    resolve = sweep.labels.resolve
    made, read = (resolve(sweep.axes[n][d]) for n, d in (("0.weight", 0), ("2.weight", 1)))
    assert made.tolist() == read.tolist() == resolve(sweep.axes["0.bias"][0]).tolist()
    assert len(set(made.ravel().tolist())) == 6
    assert not is_frozen(sweep, "0.weight", 0)


def test_inputs_and_outputs_are_frozen_unless_they_are_free() -> None:
    net = nn.Linear(4, 6)
    ends = [("weight", 0), ("weight", 1), ("bias", 0)]
    for free in (False, True):
        sweep = swept(net, torch.randn(2, 4), free_inputs=free)
        assert [is_frozen(sweep, *end) for end in ends] == [not free] * 3


class Scalars(nn.Module):
    """Calls on numbers, along a dimension that a number doesn't have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        gain = self.gain.softmax(0) + self.gain.cumsum(0).squeeze(0).flip(0)
        return self.last(
            self.first(x) * (gain + self.gain.sort(0).values + self.gain.max(0).values)
        )


def test_calls_on_scalars_alone_freeze_nothing() -> None:
    sweep = swept(Scalars(), torch.randn(2, 4))
    assert not is_frozen(sweep, "first.weight", 0)
    assert all(facts.known for facts in sweep.facts.values())


def test_a_settled_sweep_finds_nothing_new() -> None:
    sweep = swept(nets.SqueezeExcite(), *nets.SqueezeExcite().inputs())
    version, count = sweep.labels.version, len(sweep.labels)
    sweep.to_fixpoint()
    assert (sweep.labels.version, len(sweep.labels)) == (version, count)


def test_one_tensor_of_two_names_has_one_set_of_labels() -> None:
    net = nets.TiedWeights()
    sweep = swept(net, *net.inputs())
    assert sweep.tensors["a.weight"] is sweep.tensors["b.weight"]
    assert sweep.axes["a.weight"] is sweep.axes["b.weight"]


def test_whole_numbers_have_no_channels() -> None:
    class Picking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 6)
            self.register_buffer("rows", torch.tensor([5, 0, 3]))

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x)[:, self.rows]

    sweep = swept(Picking(), torch.randn(2, 4))
    (axis,) = sweep.axes["rows"]
    assert axis.shape == (3, 0)


def test_distinct_axes_are_distinct_and_resolved() -> None:
    net = nets.GroupedConv()
    sweep = swept(net, *net.inputs())
    axes = sweep.distinct_axes()
    assert len({(axis.shape, axis.tobytes()) for axis in axes}) == len(axes)
    for axis in axes:
        assert axis.shape[1]
        assert (sweep.labels.resolve(axis) == axis).all()


def test_a_result_without_a_rule_has_frozen_labels_of_its_own() -> None:
    net = nets.UnknownOperator()
    sweep = swept(net, *net.inputs())
    (node,) = (n for n in sweep.nodes if n.op == "call_function" and "renorm" in str(n.target))
    assert isinstance(node, fx.Node)
    assert not sweep.facts[node].known
    layout = sweep.results[node]
    assert isinstance(layout, tuple)
    assert len(layout) == node.meta["val"].ndim
    assert all(not sweep.labels.resolve(axis).any() for axis in layout)


class Unread(nn.Module):
    """Holds weights of a loss and an auxiliary classifier, which only training reads, and a mask that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 5)
        self.again = self.b
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(3))
        self.register_buffer("mask", torch.zeros(7, 7))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.a(x).relu()
        return (self.again(x), self.aux(x)) if self.training else self.again(x)


def test_what_no_call_reads_has_no_channels() -> None:
    axes = swept(Unread().eval(), torch.randn(2, 4)).axes
    for name in ("loss.weight", "mask", "aux.weight", "aux.bias"):
        assert all(not axis.shape[1] for axis in axes[name])
    assert axes["b.weight"][1].shape[1]  # under another name it is read


class Empty(nn.Module):
    """A layer, and a part of its result that is joined to it and has no elements."""

    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.part = nn.Conv1d(2, 6, 1), part

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return h.sum(1) + self.part(h).sum()


@pytest.mark.parametrize(
    "part",
    [
        lambda h: h[:, :, :0].flatten(1),
        lambda h: h[:, :0].reshape(-1),
        lambda h: h[:, :, 4:4].permute(2, 0, 1).relu(),
    ],
)
def test_channels_of_a_value_without_elements_stay(part: Callable[[Tensor], Tensor]) -> None:
    analysis = analyse(trace(Empty(part), (torch.randn(2, 2, 5),)))
    assert not analysis.groups
    assert any("holds no elements" in each.reason for each in frozen(analysis))


@pytest.mark.parametrize("dim", [0, -1])
def test_a_scalar_may_be_reduced(dim: int) -> None:
    analysis = analyse(trace(Empty(lambda h: h.sum().amax(dim)), (torch.randn(2, 2, 5),)))
    assert [group.width for group in analysis.groups] == [6]


@pytest.mark.parametrize(("eps", "widths"), [(0.0, []), (1e-5, [6])])
def test_a_sum_behind_a_norm_without_an_epsilon(eps: float, widths: list[int]) -> None:
    norm = nn.BatchNorm1d(6, eps=eps).eval()
    analysis = analyse(trace(Empty(lambda h: norm(h).sum(1)).eval(), (torch.randn(2, 2, 5),)))
    assert [group.width for group in analysis.groups] == widths
