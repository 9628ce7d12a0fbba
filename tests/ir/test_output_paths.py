"""Names of outputs, by where they are in what a model returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphprune.errors import OptionError
from graphprune.ir.output_paths import chosen, output_paths
from graphprune.ir.trace import trace


class Returns(nn.Module):
    """Returns one value in several places."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.shape, self.layer = shape, nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> Any:
        a, b, c = self.layer(x), x * 2, x - 1
        return {
            "alone": a,
            "tuple": (a, b),
            "dict": {"logits": a, "aux": [b, c]},
            "nested": (a, {"b": b}, None),
        }[self.shape]


@pytest.mark.parametrize(
    ("shape", "paths"),
    [
        ("alone", ("0",)),
        ("tuple", ("0", "1")),
        ("dict", ("aux.0", "aux.1", "logits")),
        ("nested", ("0", "1.b", "2")),
    ],
)
def test_outputs_are_named_by_keys_and_numbers(shape: str, paths: tuple[str, ...]) -> None:
    found = output_paths(trace(Returns(shape), (torch.randn(2, 3),)))
    assert sorted(found) == sorted(paths)


def test_a_name_means_an_output_or_all_below_it() -> None:
    paths = ("logits", "aux.0", "aux.1", "aux2")
    assert chosen(paths, ["aux"]) == (1, 2)
    assert chosen(paths, ["aux.1", "logits", "logits"]) == (0, 2)
    with pytest.raises(OptionError) as problem:
        chosen(paths, ["logit"])
    assert "logits, aux.0" in str(problem.value.hint)
    with pytest.raises(OptionError):
        chosen(paths, [])
