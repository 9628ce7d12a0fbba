"""The proof: it passes what is right, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import VerifyError
from graphprune.ir.keep_outputs import keep_outputs
from graphprune.ir.relift import relift
from graphprune.ir.trace import trace
from graphprune.verify.oracle import Verdict, verify, verify_unchanged
from tests import nets


def half(net: nets.Net) -> Cut:
    torch.manual_seed(0)
    analysis = analyse(trace(net, net.inputs(), net.keywords()))
    return Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})


def test_a_right_cut_is_passed_in_two_batch_sizes() -> None:
    verdict = verify(half(nets.GroupedConv()))
    assert verdict.ok
    assert verdict.max_error <= verdict.tolerance
    assert verdict.batches == (2, 3)


@pytest.mark.parametrize("name", ["a.weight", "b.bias", "head.2.weight"])
def test_one_wrong_number_is_found(name: str) -> None:
    cut = half(nets.GroupedConv())
    module, _ = cut.graph()
    with torch.no_grad():
        module.get_parameter(name).view(-1)[0] += 1e-2
    with pytest.raises(VerifyError, match="masked original") as caught:
        verify(cut, relift(module, cut.dense))
    assert "nothing was written" in caught.value.hint


def test_a_head_of_zeros_hides_no_wrong_call() -> None:
    """All outputs are equal, whatever is computed before; the shaken weights tell."""
    net = nets.GroupedConv()
    with torch.no_grad():
        net.head[2].weight.zero_()
    cut = half(net)
    verify(cut)
    module, _ = cut.graph()
    relu = module.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)[0]
    relu.target = torch.ops.aten.tanh.default
    module.recompile()
    x = net.inputs()[0]
    assert torch.equal(module(x)[0], cut.module(x)[0])
    with pytest.raises(VerifyError):
        verify(cut, relift(module, cut.dense))


class Hidden(nets.Net):
    """A network whose outputs come through only where an input is large."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1)
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        found = self.b(torch.relu(self.a(x)))
        return torch.where(x.amax((1, 2, 3), keepdim=True) > self.limit, found, 0.0)


@pytest.mark.parametrize(("limit", "blind"), [(1e6, True), (-1e6, False)])
def test_a_comparison_that_sees_no_weight_says_so(limit: float, blind: bool) -> None:
    verdict = verify(half(Hidden(limit)))
    assert verdict.ok
    assert verdict.blind is blind


def test_a_head_of_zeros_is_seen_with_other_weights() -> None:
    net = nets.GroupedConv()
    with torch.no_grad():
        net.head[2].weight.zero_()
    assert not verify(half(net)).blind


def test_a_program_equals_itself_and_not_another() -> None:
    net, other = nets.GroupedConv(), nets.GroupedConv()
    one, two = (trace(each, net.inputs()) for each in (net, other))
    assert verify_unchanged(one, one) == Verdict(0.0, 1e-9, (2, 3))
    with pytest.raises(VerifyError, match="before the rewrite"):
        verify_unchanged(one, two)


class Heads(torch.nn.Module):
    """Three outputs of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = torch.nn.Linear(4, 6)
        self.heads = torch.nn.ModuleList(torch.nn.Linear(6, 3) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = torch.relu(self.trunk(x))
        return [head(x) for head in self.heads]


@pytest.mark.parametrize("kept", [(0,), (2,), (0, 2)])
def test_outputs_that_stay_are_compared_with_the_same_ones(kept: tuple[int, ...]) -> None:
    program = trace(Heads(), (torch.randn(2, 4),))
    small = keep_outputs(program, kept)
    assert verify_unchanged(program, small, outputs=kept).max_error == 0
    with pytest.raises(VerifyError, match="before the rewrite"):
        verify_unchanged(program, small, outputs=[1] * len(kept))


class Counted(torch.nn.Module):
    """A layer on as many rows as the numbers of another input add up to."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        torch._assert_async(counts.sum() == x.shape[0], "the counts don't add up")
        return self.layer(x)


def test_sizes_that_do_not_fit_another_batch_are_an_error_that_says_so() -> None:
    program = trace(Counted(), (torch.randn(2, 3), torch.tensor([2, 0])))
    with pytest.raises(VerifyError, match="a batch of 3: the counts don't add up") as caught:
        verify_unchanged(program, program)
    assert "fixed batch" in caught.value.hint
    fits = trace(Counted(), (torch.randn(2, 3), torch.tensor([1, 1])))
    assert verify_unchanged(fits, fits).ok
