"""What a page is told of a model's answers."""

from __future__ import annotations

import pytest

from graphprune.report.html.accuracies import Accuracies


def test_the_mean_is_over_corruptions_alone() -> None:
    assert Accuracies("val.npz", 1.0, {"noise": 0.8, "blur": 0.6}).mean == pytest.approx(0.7)


def test_without_corruptions_there_is_no_mean() -> None:
    assert Accuracies("val.npz", 1.0, {}).mean is None
