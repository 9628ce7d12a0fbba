"""Carry an optimiser over to the smaller model, with its states sliced as their parameters are.

A state tensor in the shape of its parameter has one value for each of its elements, such as a momentum or the
moments of Adam; of these the values stay whose elements stay. Numbers, such as a count of steps, are
kept. Anything else can't be sliced without knowing the optimiser, and is an error: the rows and columns of a factored second
moment, which are means over what was removed too, or a matrix by which gradients are multiplied.
"""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from graphprune.cut.baked_weights import baked_sources
from graphprune.errors import OptionError
from graphprune.ir.unwrap import full_tensor

from .absorb_scales import absorb_scales
from .model_pair import ModelPair

__all__ = ["carry_optimizer", "carry_optimizer_state"]

logger = logging.getLogger(__name__)

AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)

_PLAIN = (
    int, float, complex, str, bytes, torch.dtype, torch.device, NoneType,
    FunctionType, BuiltinFunctionType, type,
)  # fmt: skip


def carry_optimizer(optimizer: AnyOptimizer, pair: ModelPair) -> AnyOptimizer:
    """Make an optimiser of the same class on the smaller model's parameters.

    Its groups, their order and their options are the same, as are its hooks. Parameters that vanished are left
    out; parameters that aren't the model's stay. What a learning rate scheduler put on the object is
    dropped: make a new scheduler.

    Args:
        optimizer: of the dense model; it isn't changed.
        pair: the dense model and the smaller one.

    Raises:
        OptionError: if none of its parameters is the model's, or it keeps something that can't be sliced;
            it names the state.
    """
    kind = type(optimizer).__name__
    if not any(id(p) in pair.names for group in optimizer.param_groups for p in group["params"]):
        raise OptionError(
            f"no parameter of the {kind} is one of the model's",
            hint="give the optimiser of the model that was compressed, not of a copy of it",
            options=("optimizer",),
        )
    carried: AnyOptimizer = object.__new__(type(optimizer))
    for name, value in vars(optimizer).items():
        # A scheduler puts a ``step`` of its own on the object, which would step the dense model.
        if name not in {"state", "param_groups"} and not callable(
            getattr(type(optimizer), name, None)
        ):
            setattr(carried, name, _copied(value, f"its attribute {name}", kind))
    moves = [_Moved.of(group["params"], pair) for group in optimizer.param_groups]
    carried.param_groups = [
        moved.options(group, kind) | {"params": [new for _, new, _ in moved.parameters]}
        for group, moved in zip(optimizer.param_groups, moves, strict=True)
    ]
    carried.state = defaultdict(dict)
    for moved in moves:
        for old, new, _ in moved.parameters:
            if old is not None and old in optimizer.state:
                carried.state[new] = _state(optimizer.state[old], old, pair, kind)
    for key, value in optimizer.state.items():
        if not isinstance(key, torch.Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            carried.state[key] = _copied(value, f"a state {key!r} of no parameter", kind)
    _tell(moves, pair)
    return carried


def carry_optimizer_state(
    state: Mapping[str, Any], groups: Sequence[Sequence[nn.Parameter]], pair: ModelPair, kind: str
) -> dict[str, Any]:
    """Slice an optimiser's state dict, in which parameters are numbers.

    Args:
        state: as ``Optimizer.state_dict`` gives it.
        groups: the dense parameters that the numbers stand for, for each group.
        pair: the dense model and the smaller one.
        kind: what to call the optimiser in an error.

    Returns:
        A state dict for an optimiser of the same groups on the smaller model.

    Raises:
        OptionError: if there is something in it that can't be sliced; it names the state.
    """
    moves = [_Moved.of(parameters, pair) for parameters in groups]
    numbers: dict[int, int] = {}
    states: dict[Any, Any] = {}
    out: list[dict[str, Any]] = []
    for group, parameters, moved in zip(state["param_groups"], groups, moves, strict=True):
        before = {id(p): number for p, number in zip(parameters, group["params"], strict=True)}
        for old, new, _ in moved.parameters:
            number = numbers.setdefault(id(new), len(numbers))
            values = None if old is None else state["state"].get(before[id(old)])
            if old is not None and values is not None:
                states[number] = _state(values, old, pair, kind)
        mine = [numbers[id(new)] for _, new, _ in moved.parameters]
        out.append(moved.options(group, kind) | {"params": mine})
    known = {number for group in state["param_groups"] for number in group["params"]}
    for key, value in state["state"].items():
        if key not in known:
            states[key] = _copied(value, f"a state {key!r} of no parameter", kind)
    _tell(moves, pair)
    return {**state, "state": states, "param_groups": out}


@dataclass(frozen=True)
class _Moved:
    """The parameters of one group after the cut.

    Attributes:
        parameters: for each the dense one, or ``None`` if it stores what was computed from several;
            the one of the smaller model; and the dense one's number in the group, or its own name.
        dropped: names of those that vanished.
    """

    parameters: Sequence[tuple[nn.Parameter | None, nn.Parameter, int | str]]
    dropped: Sequence[str]

    @classmethod
    def of(cls, group: Sequence[nn.Parameter], pair: ModelPair) -> _Moved:
        """Find what takes the places of a group's parameters, in the order of the smaller model."""
        moved: dict[int, tuple[nn.Parameter | None, nn.Parameter, int | str]] = {}
        dropped: list[str] = []
        for number, old in enumerate(group):
            names = pair.names.get(id(old))
            if names is None:  # not of the model, such as a loss's own
                moved[id(old)] = (old, old, number)
                continue
            if (new := _first(pair, names)) is not None:
                moved[id(new)] = (old, new, number)
                continue
            dropped.append(names[0])
            for stored in (each for name in names for each in pair.stored.get(name, ())):
                new = pair.parameters[stored]
                moved.setdefault(id(new), (None, new, stored))
        parameters = list(moved.values())
        if _in_order(group, list(pair.names)):
            first = dict.fromkeys(map(id, pair.parameters.values()))
            place = {each: number for number, each in enumerate(first)}
            parameters.sort(key=lambda each: place[id(each[1])])
        return cls(parameters, dropped)

    def options(self, group: Mapping[str, Any], kind: str) -> dict[str, Any]:
        """Copy a group's options. The names of its parameters, where torch keeps them, follow."""
        options = {
            name: _copied(value, f"the option {name} of a group", kind)
            for name, value in group.items()
            if name != "params"
        }
        if "param_names" in options:
            before = options["param_names"]
            options["param_names"] = [
                name if isinstance(name, str) else before[name] for _, _, name in self.parameters
            ]
        return options


def _first(pair: ModelPair, names: Sequence[str]) -> nn.Parameter | None:
    return next((pair.parameters[name] for name in names if name in pair.parameters), None)


def _in_order(group: Sequence[nn.Parameter], order: Sequence[int]) -> bool:
    """Whether all of a group's parameters are the model's, in the model's order."""
    place = {each: number for number, each in enumerate(order)}
    numbers = [place.get(id(parameter), -1) for parameter in group]
    return numbers == sorted(numbers) and -1 not in numbers


def _state(values: Any, parameter: nn.Parameter, pair: ModelPair, kind: str) -> Any:
    """Slice the states of one parameter."""
    name = pair.names.get(id(parameter), ("a parameter that isn't the model's",))[0]

    def sliced(tensor: torch.Tensor) -> torch.Tensor | None:
        if tensor.shape != parameter.shape or _is_symmetric(tensor):
            return None
        return pair.sliced(name, tensor)

    return {
        key: _copied(value, f"the state {key!r} of {name}", kind, sliced)
        for key, value in values.items()
    }


def _is_symmetric(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a symmetric matrix, as preconditioners are, and no momentum is but that of zeros."""
    square = tensor.ndim == 2 and tensor.shape[0] == tensor.shape[1] > 1
    return square and bool(tensor.any()) and torch.equal(tensor, tensor.T)


def _copied(
    value: Any,
    what: str,
    kind: str,
    sliced: Callable[[torch.Tensor], torch.Tensor | None] = lambda _: None,
) -> Any:
    """Copy numbers, names, functions and containers of them; tensors sliced, or if they are single numbers.

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
        copied = copy.copy(value)
        for key, each in value.items():
            copied[key] = _copied(each, what, kind, sliced)
        return copied
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_copied(each, what, kind, sliced) for each in value)
    if isinstance(value, _PLAIN):
        return value
    raise OptionError(
        f"the {kind} can't be carried over: {what} is of type {type(value).__name__}",
        hint="carry the optimiser that it wraps, and wrap the result"
        if isinstance(value, Optimizer)
        else "make a new optimiser on the smaller model",
        options=("optimizer",),
    )


def _tell(moves: Sequence[_Moved], pair: ModelPair) -> None:
    """Say which parameters are no more, which begin without states, and whose states are only near."""
    dropped = [name for moved in moves for name in moved.dropped]
    begun = [name for moved in moves for old, _, name in moved.parameters if old is None]
    cut = pair.cut
    factors = {*absorb_scales(cut).rows, *baked_sources(cut.analysis, cut.baked)}
    for text, names in (
        ("parameters that the smaller model doesn't have, left out of the optimiser", dropped),
        ("parameters that store what was computed, without states so far", begun),
        (
            "parameters that took over a factor, whose states are as they were",
            sorted(factors) * pair.own_class,
        ),
    ):
        if names:
            logger.warning("%s: %s", text, ", ".join(map(str, names)))
