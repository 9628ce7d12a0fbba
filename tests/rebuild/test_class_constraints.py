"""What the code of a class allows, found by trying."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.errors import (
    InfeasibleBudgetError,
    OptionError,
)
from graphprune.ir.trace import trace
from graphprune.rebuild.class_constraints import ClassConstraints, class_constraints

from .split_nets import NETS, PARTS, inputs


class Stating(nn.MultiheadAttention):
    """Attention that states its width, in a class that isn't torch's own."""


class Transformer(nn.Module):
    """A layer of torch's whose attention states its width."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.layer.self_attn = Stating(16, 4, batch_first=True)
        self.inner, self.head = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(self.layer(x)).relu().mean(1))


@pytest.mark.parametrize("data", [None, 8])
def test_groups_that_a_class_cannot_follow_are_found_by_trying(data: int | None) -> None:
    torch.manual_seed(0)
    net, x = Transformer().eval(), torch.randn(2, 5, 16)
    seen = None if data is None else [(torch.randn(16, 5, 16),) for _ in range(data)]
    free = gp.compress(net, (x,), flops=0.4, score="random", calibration=seen, any_width=True)
    assert not free.report.eager["own_class"]
    assert "any_width" in free.report.eager["reason"]
    kept = gp.compress(net, (x,), flops=0.7, calibration=seen)
    assert type(kept.model) is Transformer, kept.report.eager["reason"]
    assert any("can't follow" in note and "layer.self_attn" in note for note in kept.report.notes)
    cut = {g.id for g in kept.report.groups if g.after < g.before}
    assert cut <= {"layer.linear1", "inner"}
    assert {g.id for g in kept.report.groups} > {"layer.linear1", "inner"}


class OneHeadSize(nn.Module):
    """Attention whose queries and values have heads of one size, which may be another one."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 8
        self.query, self.key, self.value = (nn.Linear(16, 32) for _ in range(3))
        self.out, self.head = nn.Linear(32, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head((x + self.out(y)).mean(1))


def test_groups_that_a_class_can_only_follow_together_are_one() -> None:
    torch.manual_seed(0)
    net, x = OneHeadSize().eval(), torch.randn(2, 5, 16)
    budgets = (0.3, 0.5, 0.7)
    assert not all(
        gp.compress(net, (x,), flops=b, score="random", any_width=True).report.eager["own_class"]
        for b in budgets
    )
    for budget in budgets:
        kept = gp.compress(net, (x,), flops=budget, score="random")
        assert type(kept.model) is OneHeadSize, kept.report.eager["reason"]
        assert kept.report.after.macs <= budget * kept.report.before.macs
        assert kept.model.value.out_features == kept.model.query.out_features < 32


def test_a_budget_that_the_class_does_not_allow_says_so() -> None:
    with pytest.raises(InfeasibleBudgetError) as failure:
        gp.compress(Transformer().eval(), (torch.randn(2, 5, 16),), flops=0.3, keep_class=True)
    assert failure.value.options == ("keep_class",)


def test_by_default_the_budget_goes_before_the_class() -> None:
    torch.manual_seed(0)
    free = gp.compress(Transformer().eval(), (torch.randn(2, 5, 16),), flops=0.3)
    assert free.report.budget["met"]
    assert any("no widths that the model's class can run with" in n for n in free.report.notes)
    with pytest.raises(OptionError, match="contradict") as failure:
        gp.compress(nn.Linear(3, 3), (torch.ones(2, 3),), flops=1, keep_class=True, any_width=True)
    assert failure.value.options == ("keep_class", "any_width")


def test_the_report_says_what_the_class_costs() -> None:
    torch.manual_seed(0)
    net, x = Transformer().eval(), (torch.randn(2, 5, 16),)
    (note,) = [n for n in gp.compress(net, x, flops=0.6).report.notes if "estimated loss" in n]
    losses = [
        gp.compress(net, x, flops=0.6, any_width=free).report.allocation["distortion"]
        for free in (False, True)
    ]
    assert losses[0] > losses[1]
    assert all(f"{loss:.4g}" in note for loss in losses)


class OneNumber(nn.Module):
    """Layers that read one width from what they share."""

    def __init__(self, shared: list[int]) -> None:
        super().__init__()
        self.shared = {"width": shared}  # which no cut changes
        self.a, self.b = nn.Linear(8, shared[0]), nn.Linear(shared[0], 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x).relu().unflatten(-1, (-1, self.shared["width"][0] // 4))
        return x + self.b(y.flatten(-2))


def test_layers_in_the_same_code_are_tried_together() -> None:
    news: list[str] = []
    net, x = nn.Sequential(*(OneNumber([16]) for _ in range(8)), nn.Linear(8, 5)), torch.randn(2, 8)
    program = trace(net, (x,))
    analysis = analyse(program)
    found = class_constraints(net, program, analysis, news.append)
    assert len(analysis.groups) >= 16
    assert len(news) < 20
    assert {group.id for group in analysis.groups} - found.whole  # one of two factors can go


def constrained(net: nn.Module, x: torch.Tensor) -> tuple[Analysis, ClassConstraints]:
    program = trace(net, (x,))
    analysis = analyse(program)
    return analysis, class_constraints(net, program, analysis)


def test_code_that_knows_no_sizes_allows_everything() -> None:
    analysis, found = constrained(
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8), nn.Linear(8, 2)),
        torch.randn(2, 4),
    )
    assert found == ClassConstraints(tuple(range(len(analysis.groups))), frozenset())


class Stated(nn.Module):
    """The width of one layer is written in the code; that of the other isn't."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(self.a(x).view(-1, 8)))


def test_only_the_group_whose_width_is_stated_stays_whole() -> None:
    news: list[str] = []
    net, x = Stated(), torch.randn(2, 4)
    program = trace(net, (x,))
    analysis = analyse(program)
    found = class_constraints(net, program, analysis, news.append)
    assert found.whole == {"a"}
    assert {group.id for group in analysis.groups} == {"a", "b"}
    assert news[0] == "class trial 1"
    assert len(set(news)) == len(news)


def test_a_class_that_is_another_network_is_refused_at_once() -> None:
    net, x = Stated(), torch.randn(2, 4)
    program = trace(net, (x,))
    analysis = analyse(program)
    net.forward = lambda x: net.c(net.b(net.a(x))) + 1  # type: ignore[method-assign]
    with pytest.raises(OptionError, match="before anything is cut") as caught:
        class_constraints(net, program, analysis)
    assert caught.value.options == ("keep_class",)


@pytest.mark.parametrize("name", NETS)
def test_classes_that_take_the_parts_of_an_axis_come_back_and_train(name: str) -> None:
    torch.manual_seed(0)
    net, x = NETS[name]().eval(), inputs(name)
    _, found = constrained(net, *x)
    assert not found.whole & set(PARTS[name])
    result = gp.compress(net, x, flops=0.3)
    assert type(result.model) is type(net), result.report.eager["reason"]
    cut = {group.id for group in result.report.groups if group.after < group.before}
    assert cut & set(PARTS[name])
    other = gp.apply(result.plan, net, x)
    other.load_state_dict(result.model.state_dict())
    model = result.model.eval()
    outputs = [pytree.tree_leaves(each(*x)) for each in (model, other.eval())]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    sum(y.square().mean() for y in outputs[0]).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


class Literal(nn.Module):
    """Splits by a length that is written in the code, which only the last part can fall short of."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 16), nn.Linear(8, 6), nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = self.a(x).relu().split(8, 1)
        return self.b(one) + self.c(two)


def test_the_last_part_may_be_shorter_where_the_length_is_written_in_the_code() -> None:
    _, found = constrained(Literal(), torch.randn(2, 4))
    assert found.whole == {"a"}


def test_parts_of_unlike_sizes_keep_their_proportions() -> None:
    torch.manual_seed(0)
    result = gp.compress(NETS["shares"]().eval(), inputs("shares"), flops=0.3)
    left = {group.id: group.after for group in result.report.groups}
    assert left["a"] == 2 * left["a#2"] == 2 * left["a#3"] < 12
