"""Put tensors in the place of those that a module or graph stores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from graphprune.errors import InternalError

from .program import state

__all__ = ["fill_tensors", "set_tensor"]


def set_tensor(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in the place of the parameter, buffer or constant of that name."""
    path, _, attribute = name.rpartition(".")
    owner = module.get_submodule(path)
    if attribute not in vars(owner) and not isinstance(tensor, torch.nn.Parameter):
        owner._buffers.setdefault(attribute, None)
    setattr(owner, attribute, tensor)


def fill_tensors(module: fx.GraphModule, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a graph copies of other tensors, in its own dtypes. What is one object stays one.

    Args:
        module: changed; it shares no tensor with anything afterwards.
        tensors: by name; those that are missing become copies of themselves.

    Raises:
        InternalError: if a shape differs.
    """
    made: dict[int, torch.Tensor] = {}
    for name, old in state(module).items():
        new = tensors.get(name, old)
        if new.shape != old.shape:
            raise InternalError(f"{name}: {tuple(new.shape)} for {tuple(old.shape)}")
        if id(new) not in made:
            made[id(new)] = _copied(new, old)
        set_tensor(module, name, made[id(new)])


def _copied(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    value = tensor.detach().to(like.dtype, copy=True)
    if isinstance(like, torch.nn.Parameter):
        return torch.nn.Parameter(value, requires_grad=like.requires_grad)
    return value
