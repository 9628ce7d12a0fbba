"""Draws of training samples: each once in a pass, and the same for one seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.data.calibration import Calibration
from graphprune.passes.recover.samples import Samples, split


def data(sizes: list[int], *, whole: bool = False) -> Calibration:
    """Samples by number, with their squares beside them, and a number for all."""
    numbers = torch.arange(sum(sizes)).split(sizes)
    return Calibration(tuple((n[:, None], n.square(), 3) for n in numbers), whole=whole)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 12), st.integers(0, 9))
def test_a_pass_draws_no_sample_twice(sizes: list[int], size: int, seed: int) -> None:
    samples = Samples(data(sizes), range(len(sizes)), size, seed)
    total = sum(sizes)
    steps = total // min(size, total)
    for passed in range(2):
        drawn = [samples.draw(passed * steps + step) for step in range(steps)]
        numbers = torch.cat([x.flatten() for x, _, _ in drawn]).tolist()
        assert len(set(numbers)) == len(numbers) == steps * min(size, total)
        for x, squares, number in drawn:
            assert torch.equal(x.flatten().square(), squares)
            assert number == 3


def test_the_seed_decides_and_passes_differ() -> None:
    def drawn(seed: int, step: int) -> list[int]:
        return Samples(data([40]), [0], 40, seed).draw(step)[0].flatten().tolist()

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert sorted(drawn(1, 0)) == sorted(drawn(1, 1)) == list(range(40))


def test_only_the_batches_that_are_asked_for_are_drawn_from() -> None:
    samples = Samples(data([4, 4, 4]), [0, 2], 4, 0)
    drawn = {n for step in range(2) for n in samples.draw(step)[0].flatten().tolist()}
    assert drawn == {0, 1, 2, 3, 8, 9, 10, 11}


def test_batches_that_belong_together_are_drawn_whole() -> None:
    batches = data([2, 5, 3], whole=True)
    samples = Samples(batches, range(3), 4, 0)
    drawn = [samples.draw(step) for step in range(3)]
    assert sorted(len(x) for x, _, _ in drawn) == [2, 3, 5]


@pytest.mark.parametrize("count", [2, 8, 100])
def test_what_is_judged_by_is_not_trained_on(count: int) -> None:
    trained, judged = split(data([1] * count))
    assert judged
    assert sorted((*trained, *judged)) == list(range(count))
    assert len(judged) <= max(1, count / 8)
