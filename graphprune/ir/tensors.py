"""Add tensors to a module or graph, and replace those that it stores."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import torch
from torch import fx

from graphprune.errors import InternalError

from .private_torch import child_modules, own_buffers
from .program import state

__all__ = ["add_tensor", "fill_tensors", "free_name", "set_tensor"]


def free_name(base: str, given: Collection[str], stored: Collection[str]) -> str:
    """Choose a name for a new tensor: the base, with a number behind it where that is taken.

    Args:
        base: the name wanted.
        given: names that other new tensors have got.
        stored: names of the tensors that are there.
    """
    numbered = (f"{base}{number}" for number in itertools.count(len(given)))
    names = itertools.chain([base], numbered)
    return next(name for name in names if name not in given and name not in stored)


def add_tensor(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Register a new parameter or buffer under a qualified name, in modules that are made where they are missing."""
    *owners, last = name.split(".")
    for owner in owners:
        if owner not in child_modules(module):
            module.add_module(owner, torch.nn.Module())
        module = module.get_submodule(owner)
    if isinstance(tensor, torch.nn.Parameter):
        module.register_parameter(last, tensor)
    else:
        module.register_buffer(last, tensor)


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
