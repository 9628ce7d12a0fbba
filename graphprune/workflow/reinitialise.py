"""New weights for a smaller network: the found widths, trained from scratch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from graphprune.errors import OptionError

__all__ = ["reinitialise"]


@torch.no_grad()
def reinitialise(model: nn.Module) -> None:
    """Give all layers new weights in place, as their ``reset_parameters`` makes them.

    Running statistics are reset with them. What the class does to its layers after they are made isn't
    repeated.

    Raises:
        OptionError: if parameters would keep their values, as those that a class holds itself; it names them.
    """
    layers = {
        path: layer for path, layer in model.named_modules() if hasattr(layer, "reset_parameters")
    }
    kept = [
        name
        for name, _ in model.named_parameters()
        if not any(not path or name.startswith(f"{path}.") for path in layers)
    ]
    if kept:
        raise OptionError(
            f"{kept[0]} has no reset_parameters that would make it anew, {len(kept)} in all",
            hint="apply the plan to a new model of the class, or give its layers reset_parameters()",
        )
    for layer in layers.values():
        reset: Any = layer.reset_parameters
        reset()
