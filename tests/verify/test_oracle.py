"""The proof: it passes what is right, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import VerifyError
from graphprune.ir.relift import relift
from graphprune.ir.trace import trace
from graphprune.verify.oracle import (
    Verdict,
    error,
    verify,
    verify_unchanged,
)
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


def test_a_program_equals_itself_and_not_another() -> None:
    net, other = nets.GroupedConv(), nets.GroupedConv()
    one, two = (trace(each, net.inputs()) for each in (net, other))
    assert verify_unchanged(one, one) == Verdict(0.0, 1e-9, (2, 3))
    with pytest.raises(VerifyError, match="before the rewrite"):
        verify_unchanged(one, two)


floats = st.floats(-1e3, 1e3, allow_nan=False)


@given(st.lists(floats, min_size=1, max_size=6), st.floats(1e-3, 1e3))
def test_an_error_is_relative_to_the_largest_value(values: list[float], factor: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    assert error([x], [x]) == 0
    off = x + 0.5 * x.abs().max()
    if x.abs().max() > 1e-6:
        assert error([off], [x]) == pytest.approx(0.5)
        assert error([factor * off], [factor * x]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("got", "expected", "found"),
    [
        (torch.zeros(2), torch.zeros(3), math.inf),
        (torch.tensor([1.0, math.nan]), torch.ones(2), math.inf),
        (torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.nan]), 0.0),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), 1.0),
        (torch.tensor([True]), torch.tensor([True]), 0.0),
        (torch.zeros(0), torch.zeros(0), 0.0),
        (torch.tensor([3 + 4j]), torch.tensor([0 + 5j]), abs(3 - 1j) / 5),
    ],
)
def test_what_counts_as_an_error(got: Tensor, expected: Tensor, found: float) -> None:
    assert error([got], [expected]) == pytest.approx(found)


def test_outputs_of_another_number_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="argument"):
        error([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])


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
