"""Check what a user gives as a model and its example inputs, and bring it where programs are made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, overload

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from graphprune.errors import OptionError

from .run_on_device import on_cpu
from .unwrap import unwrap

__all__ = ["check_optimizer", "checked_model", "given_on_cpu", "positional"]

Given = TypeVar("Given", bound=nn.Module | ExportedProgram)


@overload
def given_on_cpu(
    model: nn.Module, args: Any, kwargs: Mapping[str, Any] | None
) -> tuple[torch.device, nn.Module, tuple[Any, ...], Any]: ...
@overload
def given_on_cpu(
    model: nn.Module | ExportedProgram, args: Any, kwargs: Mapping[str, Any] | None
) -> tuple[torch.device, nn.Module | ExportedProgram, tuple[Any, ...], Any]: ...
def given_on_cpu(model: Any, args: Any, kwargs: Mapping[str, Any] | None) -> Any:
    """Check a model and its inputs, take the model out of what wraps it, and bring all to the CPU.

    Args:
        model: a module or a program; it isn't changed.
        args: positional inputs, or the only one.
        kwargs: keyword inputs, or ``None``.

    Returns:
        The device that the model came from, and the model, its positional and its keyword inputs on the CPU.

    Raises:
        OptionError: if the model or the inputs are of another kind.
        LoadError: if the model's tensors are on several devices, or shards that can't be gathered.
    """
    return on_cpu(unwrap(checked_model(model)), positional(args), kwargs)


def checked_model(model: Given) -> Given:
    """Return a model as it is, if it is one whose weights have their shapes.

    Raises:
        OptionError: if it is something else, such as a state dict, a path or a class.
    """
    _check_kind(model)
    if isinstance(model, nn.Module):
        tensors = [*model.named_parameters(), *model.named_buffers()]
        if lazy := [name for name, tensor in tensors if is_lazy(tensor)]:
            raise OptionError(
                f"the shape of {lazy[0]!r} is open until the model has run",
                hint="call the model on an input once, as torch's lazy modules need it",
            )
    return model


def _check_kind(model: object) -> None:
    if not isinstance(model, (nn.Module, ExportedProgram)):
        raise OptionError(f"the model is {_kind(model)}, not a torch.nn.Module", hint=_way(model))


def positional(inputs: Any) -> tuple[Any, ...]:
    """Return example inputs as the tuple that a model is called with; a tensor is the only one.

    Raises:
        OptionError: if they are no sequence, or named.
    """
    if isinstance(inputs, torch.Tensor):
        return (inputs,)
    if isinstance(inputs, Mapping):
        raise OptionError(
            "the example inputs are a mapping, and positional ones have no names",
            hint="give it as example_kwargs; if the model takes it whole, write (inputs,)",
        )
    if inputs is None or isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
        raise OptionError(
            f"the example inputs are {_kind(inputs)}, not a tuple of what the model takes",
            hint="such as (torch.randn(2, 3, 224, 224),)",
        )
    return tuple(inputs)


def check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimiser that holds no parameter of the model, before it is trained with.

    Raises:
        OptionError: if it holds none.
    """
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise OptionError(
            f"no parameter of the {type(optimizer).__name__} is one of the model's",
            hint="give the optimiser of this model, not of a copy of it",
            options=("optimizer",),
        )


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"of type {type(value).__name__}"


def _way(model: Any) -> str:
    """Say how to make a module of what was given."""
    if isinstance(model, (str, os.PathLike)):
        return "gp.load reads .pt2 and .onnx files; weights are loaded into a module of yours"
    if isinstance(model, Mapping):
        return "build the module, and load weights into it by its load_state_dict"
    if isinstance(model, type):
        return "give an object of it"
    return "wrap what computes in a module, whose forward calls it"
