"""Replace the tensors that a module or graph stores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from graphprune.errors import InternalError

from .private_torch import own_buffers
from .program import state

__all__ = ["fill_tensors", "set_tensor"]


def set_tensor(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Replace the parameter, buffer or constant of a qualified name by another tensor."""
    path, _, attribute = name.rpartition(".")
    owner = module.get_submodule(path)
    if attribute not in vars(owner) and not isinstance(tensor, torch.nn.Parameter):
        own_buffers(owner).setdefault(attribute, None)
    setattr(owner, attribute, tensor)


def fill_tensors(module: fx.GraphModule, tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace a graph's tensors by copies of others, cast to its dtypes and on its device. Shared tensors stay shared.

    Args:
        module: changed; it shares no tensor with anything afterwards.
        tensors: new values by name; tensors that are not among them are copied.

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
    value = tensor.detach().to(like.device, like.dtype, copy=True)
    if isinstance(like, torch.nn.Parameter):
        return torch.nn.Parameter(value, requires_grad=like.requires_grad)
    return value
