"""New weights for a smaller network: the found widths, trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from graphprune.errors import OptionError
from graphprune.ir.nodes import is_continuous

__all__ = ["reinitialise"]


@torch.no_grad()
def reinitialise(model: nn.Module) -> None:
    """Give all layers new weights in place, as their ``reset_parameters`` makes them.

    Running statistics are reset with them. Weights that are parametrised, as by weight normalisation, are made anew
    before what they are computed from follows. What the class does to its layers after they are made isn't repeated.

    Raises:
        OptionError: if parameters would keep their values, as those that a class holds itself; it names them.
            Where a layer's own reset forgets some, the model is of no use then.
    """
    layers = {
        path: layer for path, layer in model.named_modules() if hasattr(layer, "reset_parameters")
    }
    _refuse(
        name
        for name, _ in model.named_parameters()
        if not any(not path or name.startswith(f"{path}.") for path in layers)
    )
    for parameter in model.parameters():
        if is_continuous(parameter):
            parameter.fill_(torch.nan)  # so that one sees what a layer forgets
    for layer in layers.values():
        _reset(layer)
    _refuse(
        name
        for name, parameter in model.named_parameters()
        if is_continuous(parameter) and bool(parameter.isnan().any())
    )


def _refuse(names: Iterable[str]) -> None:
    """Raise an error for parameters that keep their values, if there are any."""
    if kept := list(names):
        raise OptionError(
            f"{kept[0]} has no reset_parameters that would make it anew, {len(kept)} in all",
            hint="apply the plan to a new model of the class, or give its layers reset_parameters()",
        )


def _reset(layer: nn.Module) -> None:
    """Reset a layer; what a parametrised weight is computed from is then what gives the new weight."""
    reset: Any = layer.reset_parameters
    given = getattr(layer, "parametrizations", None)
    if not isinstance(given, nn.ModuleDict):
        reset()
        return
    modes = [(each, each.training) for each in layer.modules()]
    layer.eval()  # spectral normalisation counts its calls in training
    with parametrize.cached():
        weights = {name: getattr(layer, name) for name in given}
        reset()
    for name, weight in weights.items():
        steps: list[nn.Module] = list(given[name].children())
        if weight.isnan().any() or not all(hasattr(step, "right_inverse") for step in steps):
            continue
        with suppress(NotImplementedError):  # then it isn't made anew, which is an error above
            setattr(layer, name, weight)
    for each, training in modes:
        each.training = training
