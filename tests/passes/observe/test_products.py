"""Queries and keys: which channels are multiplied with which, and what the ones left are refitted towards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.observe.products import compensation, second_moment
from graphprune.passes.recover import repair
from graphprune.passes.score import CRITERIA
from graphprune.passes.score.measured_curves import measure

DIM, HEADS, TOKENS = 12, 3, 7
SIZE = DIM // HEADS


class Separate(nn.Module):
    """Three layers, and the scores written out, scaled on the side of the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(DIM, DIM) for _ in range(3))
        self.out = nn.Linear(DIM, DIM)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q * SIZE**-0.5) @ k.transpose(-2, -1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).view(*x.shape[:2], HEADS, SIZE).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        mixed = self.scores(q, k).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class Einsum(Separate):
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return torch.einsum("bhld,bhsd->bhls", q, k) / SIZE**0.5


class Fused(nn.Module):
    """One layer for all three, and fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, HEADS, SIZE).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Grouped(nn.Module):
    """Two heads of queries to each of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(DIM, 4 * SIZE), nn.Linear(DIM, 4 * SIZE)
        self.out = nn.Linear(4 * SIZE, DIM)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).view(*x.shape[:2], 4, SIZE).transpose(1, 2)
        k, v = self.kv(x).view(*x.shape[:2], 2, 2, SIZE).permute(2, 0, 3, 1, 4).unbind(0)
        k, v = (each[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for each in (k, v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Normed(Separate):
    """What is left of a key wouldn't be refitted towards what is multiplied."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ torch.tanh(k).transpose(-2, -1)


class ReadTwice(Separate):
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(-2, -1) + k.sum(-1)[:, :, None]


def seen(net: nn.Module, samples: int = 60) -> Observations:
    torch.manual_seed(0)
    mixing = torch.randn(DIM, DIM)  # so that channels have something in common
    data = torch.randn(samples, TOKENS, DIM) @ mixing
    program = trace(net.eval(), (data[:2],))
    return Observations(analyse(program), gather([data], program))


def made(kind: type[nn.Module]) -> Observations:
    torch.manual_seed(1)
    return seen(kind())


def of_head(start: int, head: int) -> list[int]:
    return list(range(start + head * SIZE, start + (head + 1) * SIZE))


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        (Separate, ("k.weight", "q.weight"), [(of_head(0, h), [of_head(0, h)]) for h in range(3)]),
        (Einsum, ("k.weight", "q.weight"), [(of_head(0, h), [of_head(0, h)]) for h in range(3)]),
        (Fused, ("qkv.weight",) * 2, [(of_head(DIM, h), [of_head(0, h)]) for h in range(3)]),
        (
            Grouped,
            ("kv.weight", "q.weight"),
            [(of_head(0, h), [of_head(0, 2 * h), of_head(0, 2 * h + 1)]) for h in range(2)],
        ),
    ],
)
def test_keys_and_the_queries_they_are_multiplied_with(
    kind: type[nn.Module], names: tuple[str, str], expected: list[Any]
) -> None:
    ((layer, partners),) = made(kind).products.items()
    assert (layer.name, {each.layer.name for each in partners}) == (names[0], {names[1]})
    assert [(each.channels.tolist(), each.others.tolist()) for each in partners] == expected


@pytest.mark.parametrize("kind", [Normed, ReadTwice])
def test_keys_that_are_read_otherwise(kind: type[nn.Module]) -> None:
    assert not made(kind).products


def test_channels_left_make_up_for_those_that_went() -> None:
    observations = made(Separate)
    ((layer, partners),) = observations.products.items()
    channels = torch.ones(DIM, dtype=torch.bool)
    channels[[1, SIZE + 2, SIZE + 3]] = False
    q, k = (
        torch.cat([observations.record.targets[each, b] for b in observations.fitted]).double()
        for each in (partners[0].layer, layer)
    )
    mix = compensation(partners, channels, [second_moment(each, [q]) for each in partners])
    assert mix.shape == (DIM, int(channels.sum()))
    for head in range(HEADS):
        own = torch.tensor(of_head(0, head))
        left = own[channels[own]]
        dense = q[:, own] @ k[:, own].T
        place = channels.cumsum(0)[left] - 1
        got = q[:, left] @ (k @ mix)[:, place].T
        best = q[:, left] @ torch.linalg.lstsq(q[:, left], dense).solution
        wrong, least, plain = (
            float((each - dense).square().sum()) for each in (got, best, q[:, left] @ k[:, left].T)
        )
        assert wrong <= 1.001 * least + 1e-9 * float(dense.square().sum())
        assert wrong < plain or head == 2
    assert torch.equal(mix[of_head(0, 2)][:, -SIZE:], torch.eye(SIZE, dtype=torch.float64))


@pytest.mark.parametrize("silent", [slice(None), slice(1, None)])
def test_silent_partners_leave_nothing_to_make_up_for(silent: slice) -> None:
    ((_, partners),) = made(Separate).products.items()
    channels = torch.ones(DIM, dtype=torch.bool)
    channels[::SIZE] = False
    rows = torch.randn(20, DIM)
    for each in partners:
        rows[:, each.others.flatten()[silent]] = 0
    mix = compensation(partners, channels, [second_moment(each, [rows]) for each in partners])
    assert torch.equal(mix, torch.eye(DIM, dtype=torch.float64)[:, channels])


def test_nothing_to_make_up_for() -> None:
    observations = made(Separate)
    ((layer, partners),) = observations.products.items()
    assert observations.compensated(layer, torch.ones(DIM, dtype=torch.bool)) is None
    assert observations.compensated(partners[0].layer, torch.zeros(DIM, dtype=torch.bool)) is None


@pytest.mark.parametrize("kind", [Separate, Einsum])
def test_a_repair_keeps_the_scores_better(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    observations = made(kind)
    group = next(g for g in observations.analysis.groups if g.width == SIZE)
    cut = Cut.keeping(observations.analysis, {group.id: (0, 2)})
    with_it = repair(observations, cut).error
    monkeypatch.setattr(Observations, "compensated", lambda *_: None)
    assert with_it < 0.8 * repair(observations, cut).error


def test_curves_are_measured_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    observations = made(Separate)
    (group,) = (
        g
        for g in observations.analysis.groups
        if {o.tensor.partition(".")[0] for o in g.occurrences} == {"q", "k"}
    )
    scores = CRITERIA["l2"](observations.analysis)
    with_it = measure(observations, scores)[group.id].measured
    monkeypatch.setattr(Observations, "compensated", lambda *_: None)
    without = measure(observations, scores)[group.id].measured
    assert with_it.keys() == without.keys() == {1, 2, 3}
    assert all(with_it[gone] < 0.8 * without[gone] for gone in (1, 2))
