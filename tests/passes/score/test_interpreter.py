"""Runs of the analysed graph on calibration data, and rows of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.analysis.groups import Group
from graphprune.data.calibration import Calibration
from graphprune.passes.score.interpreter import CopyingInterpreter, chunks, rows_of
from tests.passes.score.networks import Plain, TwoLinears, analysed, images

ANALYSIS, SEEN = analysed(TwoLinears(), torch.randn(16, 5))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 30), st.integers(1, 6))
def test_pieces_are_the_first_samples_in_order(sizes: list[int], samples: int, size: int) -> None:
    x = torch.arange(sum(sizes) * 5.0).view(-1, 5)
    data = Calibration(tuple((part,) for part in x.split(sizes)))
    found = list(chunks(ANALYSIS, data, samples, size))
    assert all(count == len(inputs[0]) <= size for count, inputs in found)
    assert torch.equal(torch.cat([inputs[0] for _, inputs in found]), x[:samples])


def test_items_that_belong_together_stay_together() -> None:
    data = Calibration(tuple((torch.zeros(n, 5),) for n in (3, 7)), whole=True)
    assert [len(x) for _, (x,) in chunks(ANALYSIS, data, 100, 2)] == [3, 7]
    assert len(list(chunks(ANALYSIS, data, 1, 2))) == 1


def test_a_run_gives_what_the_network_does_and_changes_none_of_it() -> None:
    net = Plain()
    analysis, _ = analysed(net, images())
    x = images(3)
    before = x.clone()
    (found,) = CopyingInterpreter(analysis).outputs((x,))
    torch.testing.assert_close(found, net(x))
    assert torch.equal(x, before)


def test_given_tensors_take_gradients() -> None:
    weight = torch.zeros(1, 8, requires_grad=True)
    (found,) = CopyingInterpreter(ANALYSIS, {"b.weight": weight}).outputs((torch.ones(2, 5),))
    assert not found.any()
    found.sum().backward()
    hidden = ANALYSIS.tensors["a.weight"].detach().sum(1)
    torch.testing.assert_close(weight.grad, 2 * hidden[None])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_run_in_thirty_two(kind: torch.dtype) -> None:
    analysis, _ = analysed(TwoLinears().to(kind), torch.randn(4, 5).to(kind))
    (found,) = CopyingInterpreter(analysis).outputs((torch.randn(2, 5).to(kind),))
    assert found.dtype == torch.float32


def group(*labels: int) -> Group:
    return Group("a", np.array(labels), ())


@given(st.permutations(range(1, 7)))
def test_rows_of_an_axis_are_found_in_the_order_of_the_channels(order: list[int]) -> None:
    axis = np.array(order * 2)[:, None]  # each channel in two rows
    rows = rows_of(axis, group(4, 2, 6))
    assert rows is not None
    assert [[axis[row, 0] for row in each] for each in rows] == [[4, 4], [2, 2], [6, 6]]
    assert (np.diff(rows, axis=1) > 0).all()


def test_an_axis_that_lacks_a_channel_or_has_one_twice_has_no_rows() -> None:
    assert rows_of(np.array([[1], [2]]), group(1, 2, 3)) is None
    assert rows_of(np.array([[1], [2], [2], [3]]), group(1, 2, 3)) is None
    assert rows_of(np.array([[9], [8]]), group(1, 2)) is None
    merged = rows_of(np.array([[3, 1], [3, 2], [4, 1], [4, 2]]), group(1, 2))
    assert merged is not None
    assert merged.tolist() == [[0, 2], [1, 3]]
