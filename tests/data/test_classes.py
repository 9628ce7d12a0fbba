"""Which models are classifiers, and of how many classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.data.classes import class_count
from graphprune.errors import OptionError
from graphprune.ir.trace import trace


class Head(nn.Module):
    """A layer whose output is made into something else."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.fc, self.form = nn.Linear(4, 5), form

    def forward(self, x: Tensor) -> Any:
        y = self.fc(x)
        forms = {"plain": y, "named": {"logits": y, "loss": None}, "twice": (y, y), "flat": y[:, 0]}
        return forms[self.form]


@pytest.mark.parametrize("form", ["plain", "named"])
def test_columns_of_the_one_output_are_classes(form: str) -> None:
    assert class_count(trace(Head(form), (torch.randn(2, 4),))) == 5


@pytest.mark.parametrize("form", ["twice", "flat"])
def test_other_models_are_no_classifiers(form: str) -> None:
    with pytest.raises(OptionError, match=r"one output \[n, classes\]"):
        class_count(trace(Head(form), (torch.randn(2, 4),)))


def test_a_buffer_that_is_written_is_no_output() -> None:
    class Counting(Head):
        def __init__(self) -> None:
            super().__init__("plain")
            self.register_buffer("calls", torch.zeros(1, 3))

        def forward(self, x: Tensor) -> Any:
            self.get_buffer("calls").add_(1)
            return super().forward(x)

    assert class_count(trace(Counting(), (torch.randn(2, 4),))) == 5
