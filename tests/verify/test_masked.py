"""The dense network with removed channels silenced, against masks written by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.ops.float64 import Float64Interpreter
from graphprune.verify.graph_runs import run
from graphprune.verify.masked import MaskedInterpreter


class Shifted(nn.Module):
    """A channel carries a constant on: its bias, through an activation that isn't 0 at 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.sigmoid(self.a(x)))


class Normed(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.b = nn.Linear(4, 6), norm, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.norm(self.a(x)))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def analysed(net: nn.Module, *, allow_inexact: bool = False) -> Analysis:
    return analyse(trace(net, (torch.randn(2, 4),)), allow_inexact=allow_inexact)


def masked(analysis: Analysis, keep: list[int]) -> Tensor:
    (result,) = run(MaskedInterpreter(Cut.keeping(analysis, {"a": keep})), [X])
    return result


def test_with_everything_kept_it_is_the_dense_network() -> None:
    analysis = analysed(Shifted())
    (dense,) = run(Float64Interpreter(analysis.module), [X])
    assert torch.equal(masked(analysis, list(range(6))), dense)
    assert not torch.equal(masked(analysis, [0, 1, 2, 3, 4]), dense)


def test_what_reads_a_removed_channel_sees_nothing_of_it_not_even_a_constant() -> None:
    net = Shifted()
    got = masked(analysed(net), [1, 4, 5])
    net.double()
    hidden = torch.sigmoid(net.a(X))[:, [1, 4, 5]]
    expected = hidden @ net.b.weight[:, [1, 4, 5]].T + net.b.bias
    torch.testing.assert_close(got, expected.detach())


def test_a_sum_of_squares_loses_the_terms_of_removed_channels() -> None:
    """It is still divided by the dense width: that is what zero channels would give."""
    net = Normed(nn.RMSNorm(6, eps=1e-6))
    got = masked(analysed(net), [0, 2, 3])
    net.double()
    hidden = net.a(X)[:, [0, 2, 3]]
    norm = net.norm.weight[[0, 2, 3]] / (hidden.square().sum(1, True) / 6 + 1e-6).sqrt()
    expected = (hidden * norm) @ net.b.weight[:, [0, 2, 3]].T + net.b.bias
    torch.testing.assert_close(got, expected.detach())


def test_a_centred_statistic_is_that_of_the_others() -> None:
    net = Normed(nn.LayerNorm(6))
    keep = [1, 2, 5]
    got = masked(analysed(net, allow_inexact=True), keep)
    net.double()
    hidden = net.a(X)
    filled = hidden.clone()
    gone = [0, 3, 4]
    filled[:, gone] = hidden[:, keep].mean(1, keepdim=True)
    whole = F.layer_norm(filled, (6,), net.norm.weight, net.norm.bias)
    expected = whole[:, keep] @ net.b.weight[:, keep].T + net.b.bias
    torch.testing.assert_close(got, expected.detach())


def test_other_values_of_the_tensors_are_used_where_they_are_given() -> None:
    analysis = analysed(Shifted())
    cut = Cut.keeping(analysis, {"a": [0, 3]})
    (zeroed,) = run(MaskedInterpreter(cut, {"b.weight": torch.zeros(3, 6)}), [X])
    bias = analysis.tensors["b.bias"].detach().double()
    assert torch.equal(zeroed, bias.expand(5, 3))


class Attending(nn.Module):
    """Sums over as many tokens as there are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.softmax(self.q(x) @ x.transpose(-1, -2), -1)
        return self.b(scores @ self.a(x))


def test_an_axis_of_open_size_may_be_longer_than_on_the_examples() -> None:
    net, dims = Attending(), ({0: None, 1: torch.export.Dim("tokens", min=2)},)
    example = torch.randn(2, 5, 4)
    analysis = analyse(torch.export.export(net, (example,), dynamic_shapes=dims))
    x = torch.randn(2, 7, 4, dtype=torch.float64)
    (got,) = run(MaskedInterpreter(Cut.keeping(analysis, {"a": [1, 4, 5]})), [x])
    net = net.double()
    with torch.no_grad():
        net.b.weight[:, [0, 2, 3]] = 0
        assert torch.allclose(got, net(x))
