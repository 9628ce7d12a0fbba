"""Integers that stand for numbers are told from those that choose or count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from graphprune.analysis.integer_weights import integer_weights
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace

Use = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Holder(torch.nn.Module):
    def __init__(self, use: Use) -> None:
        super().__init__()
        self.register_buffer("whole", torch.arange(12).reshape(3, 4) % 3)
        self.use = use

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.use(x, self.whole)  # type: ignore[arg-type]


CASES: dict[str, tuple[Use, bool]] = {
    "converted": (lambda x, w: x @ (w.float() - 1), True),
    "moved first": (lambda x, w: x @ w.t().reshape(4, 3).t().float(), True),
    "sliced first": (lambda x, w: x @ w[:, 1:3].float(), True),
    "converted twice": (lambda x, w: x @ w.float() + x @ w.to(torch.float32), True),
    "an index": (lambda x, w: x[:, w[:, 0]], False),
    "both": (lambda x, w: x[:, w[:, 0]] @ w.float(), False),
    "compared": (lambda x, w: x.sum() * (w == 1), False),
    "promoted": (lambda x, w: x @ (w * 0.5), False),
}


@pytest.mark.parametrize("name", CASES)
def test_integers_that_every_reader_converts(name: str) -> None:
    use, expected = CASES[name]
    module = unlift(trace(Holder(use).eval(), (torch.randn(2, 3),)))
    assert integer_weights(module) == ({"whole"} if expected else set())
