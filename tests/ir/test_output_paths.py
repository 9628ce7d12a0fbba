"""Names of outputs, by where they are in what a model returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from graphprune.errors import OptionError
from graphprune.ir.keep_outputs import keep_outputs
from graphprune.ir.output_paths import chosen, output_paths
from graphprune.ir.private_torch import pytree
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


class Pair(NamedTuple):
    """A container with names that torch knows."""

    mask: torch.Tensor
    score: torch.Tensor


class Opaque:
    """A container whose fields torch can't name."""

    def __init__(self, a: torch.Tensor, b: torch.Tensor) -> None:
        self.a, self.b = a, b


pytree.register_pytree_node(
    Opaque,
    lambda pair: ([pair.a, pair.b], None),
    lambda leaves, _: Opaque(*leaves),
    serialized_type_name="tests.Opaque",
)


@dataclass
class Named:
    """A data class, which tracing registers."""

    logits: torch.Tensor
    features: torch.Tensor


class Contained(nn.Module):
    """Returns two values in a container."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.kind(self.layer(x), x * 2)


@pytest.mark.parametrize(
    ("kind", "paths"),
    [(Pair, ("mask", "score")), (Opaque, ("0", "1")), (Named, ("logits", "features"))],
)
def test_fields_of_classes_are_named_if_torch_knows_them(kind: Any, paths: Any) -> None:
    program = trace(Contained(kind), (torch.randn(2, 3),))
    assert output_paths(program) == paths
    x = torch.randn(5, 3)
    assert torch.equal(keep_outputs(program, [1]).module()(x), x * 2)


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
