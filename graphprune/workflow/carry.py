"""Carry over what a training loop keeps beside a model: its optimiser, its averages, its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from graphprune.errors import OptionError
from graphprune.loading.state_dict import prefixes
from graphprune.rebuild.carry_module import carry_module, carry_weights
from graphprune.rebuild.carry_optimizer import carry_optimizer
from graphprune.rebuild.model_pair import ModelPair

__all__ = ["carry", "carry_named_weights"]


def carry(other: Any, pair: ModelPair) -> Any:
    """Carry an optimiser, a module or a state dict over to the smaller model; see ``Result.carry``."""
    match other:
        case torch.optim.Optimizer():
            return carry_optimizer(other, pair)
        case nn.Module():
            return carry_module(other, pair)
        case Mapping():
            return carry_named_weights(other, pair)
        case _:
            raise OptionError(
                f"a {type(other).__name__} can't be carried over",
                hint="an optimiser, a module or a state dict can",
            )


def carry_named_weights(state: Mapping[str, Any], pair: ModelPair) -> dict[str, Any]:
    """Cut a state dict whose names may have a wrapper's prefix, which they keep; all copies of the model in it.

    Raises:
        MismatchError: if names or shapes aren't those of the dense model.
    """
    own = pair.dense.state_dict() if isinstance(pair.dense, nn.Module) else pair.dense.state_dict
    found = dict(state)
    for prefix in prefixes(state, own) or [""]:
        plain = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        small = carry_weights(plain, pair)
        found = {name: value for name, value in found.items() if not name.startswith(prefix)}
        found |= {f"{prefix}{name}": value for name, value in small.items()}
    return found
