"""Copy what an optimiser holds, with the states of parameters sliced as these are.

A state tensor in the shape of its parameter has one value for each of its elements, such as a momentum or the
moments of Adam; of these the values stay whose elements stay. Numbers, such as a count of steps, are
kept. Anything else can't be sliced without knowing the optimiser, and is an error: the rows and columns of a factored second
moment, which are means over what was removed too, or a matrix by which gradients are multiplied.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from graphprune.errors import OptionError
from graphprune.ir.unwrap import full_tensor

from .model_pair import ModelPair

__all__ = ["check_state", "copied", "sliced_state"]

_PLAIN = (
    int, float, complex, str, bytes, torch.dtype, torch.device, NoneType,
    FunctionType, BuiltinFunctionType, type,
)  # fmt: skip


def sliced_state(values: Any, parameter: nn.Parameter, pair: ModelPair, kind: str) -> Any:
    """Slice the states of one parameter.

    Args:
        values: by name.
        parameter: of the dense model.
        pair: the dense model and the smaller one.
        kind: what to call the optimiser in an error.

    Raises:
        OptionError: if there is something in it that can't be sliced; it names the state.
    """
    name = pair.names.get(id(parameter), ("a parameter that isn't the model's",))[0]
    return _states(values, parameter, name, kind, lambda tensor: pair.sliced(name, tensor))


def check_state(values: Any, parameter: nn.Parameter, name: str, kind: str) -> None:
    """Refuse the states of one parameter if there is something in them that can't be sliced.

    Args:
        values: by name.
        parameter: of the dense model.
        name: of the parameter, for an error.
        kind: what to call the optimiser in an error.

    Raises:
        OptionError: naming the state.
    """
    _states(values, parameter, name, kind, lambda tensor: tensor)


def _states(
    values: Any,
    parameter: nn.Parameter,
    name: str,
    kind: str,
    slices: Callable[[torch.Tensor], torch.Tensor],
) -> dict[Any, Any]:
    """Copy the states of one parameter; those in its shape sliced."""

    def sliced(tensor: torch.Tensor) -> torch.Tensor | None:
        return None if tensor.shape != parameter.shape or _is_symmetric(tensor) else slices(tensor)

    return {
        key: copied(value, f"the state {key!r} of {name}", kind, sliced)
        for key, value in values.items()
    }


def _is_symmetric(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a symmetric matrix, as preconditioners are, and no momentum is but that of zeros."""
    square = tensor.ndim == 2 and tensor.shape[0] == tensor.shape[1] > 1
    return square and bool(tensor.any()) and torch.equal(tensor, tensor.T)


def copied(
    value: Any,
    what: str,
    kind: str,
    sliced: Callable[[torch.Tensor], torch.Tensor | None] = lambda _: None,
) -> Any:
    """Copy numbers, names, functions and containers of them; tensors sliced, or if they are single numbers.

    Args:
        value: what an optimiser holds.
        what: it is, for an error.
        kind: what to call the optimiser in an error.
        sliced: slices a tensor; ``None`` where it can't.

    Raises:
        OptionError: if there is anything else.
    """
    if isinstance(value, torch.Tensor):
        whole = full_tensor(value)
        if (small := sliced(whole)) is not None:
            return small
        if whole.numel() == 1:
            return whole.detach().clone()
        shape = (
            f"{'a symmetric' if _is_symmetric(whole) else 'a'} tensor of shape {tuple(whole.shape)}"
        )
        raise OptionError(
            f"the {kind} can't be carried over: {what} is {shape}",
            hint="only states with one value for each element of a parameter can be sliced, not means over its rows "
            "or columns, nor matrices that gradients are multiplied by; make a new optimiser on the smaller model",
            options=("optimizer",),
        )
    if isinstance(value, dict):
        made = copy.copy(value)
        for key, each in value.items():
            made[key] = copied(each, what, kind, sliced)
        return made
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(copied(each, what, kind, sliced) for each in value)
    if isinstance(value, _PLAIN):
        return value
    raise OptionError(
        f"the {kind} can't be carried over: {what} is of type {type(value).__name__}",
        hint="carry the optimiser that it wraps, and wrap the result"
        if isinstance(value, Optimizer)
        else "make a new optimiser on the smaller model",
        options=("optimizer",),
    )
