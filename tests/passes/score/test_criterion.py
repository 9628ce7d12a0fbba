"""Scores, and the curves that are made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import OptionError
from graphprune.passes.score import Scores, additive
from graphprune.passes.score.criterion import checked, required
from tests.passes.score.networks import WIDTH, Plain, images
from tests.passes.score.networks import analysed as observed

values = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=12).map(np.array)


@given(values, st.integers(1, 4))
def test_a_curve_falls_from_all_to_nothing(score: np.ndarray, readers: int) -> None:
    scores = Scores({"a": score}, readers={"a": readers})
    curve = scores.curve("a")
    assert curve.shape == (len(score) + 1,)
    assert (np.diff(curve) <= 1e-12).all()
    assert curve[-1] == pytest.approx(0, abs=1e-9)
    assert curve[0] == (readers if score.sum() > 0 else 0)


@given(values)
def test_what_is_kept_is_worth_no_less_than_what_goes(score: np.ndarray) -> None:
    scores = Scores({"a": score})
    for width in range(len(score) + 1):
        kept = scores.keep("a", width)
        assert len(set(kept)) == width
        assert list(kept) == sorted(kept)
        gone = np.delete(score, kept)
        assert width in {0, len(score)} or score[list(kept)].min() >= gone.max()


@given(values)
def test_an_additive_curve_is_the_sum_of_what_is_removed(score: np.ndarray) -> None:
    scores = additive({"a": score}, ("a note",))
    assert scores.notes == ("a note",)
    for width, lost in enumerate(scores.curve("a")):
        gone = np.delete(score, scores.keep("a", width))
        assert lost == pytest.approx(gone.sum(), rel=1e-9)


def test_equal_channels_go_by_their_number() -> None:
    scores = Scores({"a": np.array([1.0, 2.0, 1.0, 2.0])})
    assert scores.order("a").tolist() == [1, 3, 0, 2]
    assert scores.keep("a", 3) == (0, 1, 3)


def test_a_curve_that_is_given_is_not_made() -> None:
    curve = np.array([3.0, 1.0, 0.0])
    scores = Scores({"a": np.array([1.0, 2.0])}, readers={"a": 5}, curves={"a": curve})
    assert scores.curve("a") is curve


def test_observations_are_required() -> None:
    _, seen = observed(Plain(), images())
    assert required(seen, "mine") is seen
    with pytest.raises(OptionError, match="mine needs calibration data"):
        required(None, "mine")


def test_scores_of_any_numbers_are_checked() -> None:
    analysis, _ = observed(Plain(), images())
    scores: dict[str, Any] = {g.id: list(range(g.width)) for g in analysis.groups}
    found = checked(Scores(scores), analysis, "mine")
    np.testing.assert_array_equal(found.order("a"), np.arange(WIDTH)[::-1])


@pytest.mark.parametrize(
    "wrong",
    [None, np.ones(WIDTH - 1), np.full(WIDTH, np.nan), np.full(WIDTH, np.inf), -np.ones(WIDTH)],
)
def test_anything_but_a_score_for_each_channel_is_an_error(wrong: Any) -> None:
    analysis, _ = observed(Plain(), images())
    scores = {g.id: np.ones(g.width) for g in analysis.groups}
    if wrong is None:
        del scores["a"]
    else:
        scores["a"] = wrong
    with pytest.raises(OptionError, match="mine doesn't give the 8 channels of a a score each"):
        checked(Scores(scores), analysis, "mine")
