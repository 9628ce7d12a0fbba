"""Carry an optimiser over to the smaller model, with its states sliced as their parameters are."""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from graphprune.cut.baked_weights import baked_sources
from graphprune.errors import OptionError

from .absorb_scales import absorb_scales
from .model_pair import ModelPair
from .optimizer_state import check_state, copied, sliced_state

__all__ = ["carry_optimizer", "carry_optimizer_state", "check_carries"]

logger = logging.getLogger(__name__)

AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)


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
    carried = _without_parameters(optimizer)
    moves = [_Moved.of(group["params"], pair) for group in optimizer.param_groups]
    carried.param_groups = [
        moved.options(group, kind) | {"params": [each.small for each in moved.parameters]}
        for group, moved in zip(optimizer.param_groups, moves, strict=True)
    ]
    carried.state = defaultdict(dict)
    for moved in moves:
        for old, new, _ in moved.parameters:
            if old is not None and old in optimizer.state:
                carried.state[new] = sliced_state(optimizer.state[old], old, pair, kind)
    for key, value in optimizer.state.items():
        if not isinstance(key, torch.Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            carried.state[key] = copied(value, f"a state {key!r} of no parameter", kind)
    _tell(moves, pair)
    return carried


def check_carries(optimizer: Optimizer, model: nn.Module) -> None:
    """Refuse an optimiser that keeps something which can't be carried over.

    What it keeps of parameters is looked at as far as it is there: once it has taken a step.

    Args:
        optimizer: on the parameters of the model.
        model: the dense one.

    Raises:
        OptionError: with what that is.
    """
    kind = type(optimizer).__name__
    _without_parameters(optimizer)
    for name, parameter in model.named_parameters():
        if parameter in optimizer.state:
            check_state(optimizer.state[parameter], parameter, name, kind)


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
                states[number] = sliced_state(values, old, pair, kind)
        mine = [numbers[id(each.small)] for each in moved.parameters]
        out.append(moved.options(group, kind) | {"params": mine})
    known = {number for group in state["param_groups"] for number in group["params"]}
    for key, value in state["state"].items():
        if key not in known:
            states[key] = copied(value, f"a state {key!r} of no parameter", kind)
    _tell(moves, pair)
    return {**state, "state": states, "param_groups": out}


def _without_parameters(optimizer: AnyOptimizer) -> AnyOptimizer:
    """Copy an optimiser, but for its groups and the states of parameters."""
    kind = type(optimizer).__name__
    carried: AnyOptimizer = object.__new__(type(optimizer))
    for name, value in vars(optimizer).items():
        # A scheduler puts a ``step`` of its own on the object, which would step the dense model.
        if name not in {"state", "param_groups"} and not callable(
            getattr(type(optimizer), name, None)
        ):
            own = (
                copy.copy(value)
                if _is_hooks(value)
                else copied(value, f"its attribute {name}", kind)
            )
            setattr(carried, name, own)
    return carried


class _Place(NamedTuple):
    """One parameter of a group after the cut.

    Attributes:
        dense: the one that it was; ``None`` if it stores what was computed from several.
        small: the one of the smaller model.
        name: the number of the dense one in the group, or its own name.
    """

    dense: nn.Parameter | None
    small: nn.Parameter
    name: int | str


@dataclass(frozen=True)
class _Moved:
    """The parameters of one group after the cut.

    Attributes:
        parameters: those of the smaller model.
        dropped: names of the dense ones that vanished.
    """

    parameters: Sequence[_Place]
    dropped: Sequence[str]

    @classmethod
    def of(cls, group: Sequence[nn.Parameter], pair: ModelPair) -> _Moved:
        """Find what takes the places of a group's parameters, in the order of the smaller model."""
        moved: dict[int, _Place] = {}
        dropped: list[str] = []
        for number, old in enumerate(group):
            names = pair.names.get(id(old))
            if names is None:  # not of the model, such as a loss's own
                moved[id(old)] = _Place(old, old, number)
                continue
            if (new := _first(pair, names)) is not None:
                moved[id(new)] = _Place(old, new, number)
                continue
            dropped.append(names[0])
            for stored in (each for name in names for each in pair.stored.get(name, ())):
                new = pair.parameters[stored]
                moved.setdefault(id(new), _Place(None, new, stored))
        parameters = list(moved.values())
        if _in_order(group, list(pair.names)):
            first = dict.fromkeys(map(id, pair.parameters.values()))
            place = {each: number for number, each in enumerate(first)}
            parameters.sort(key=lambda each: place[id(each.small)])
        return cls(parameters, dropped)

    def options(self, group: Mapping[str, Any], kind: str) -> dict[str, Any]:
        """Copy a group's options. The names of its parameters, where torch keeps them, follow."""
        options = {
            name: copied(value, f"the option {name} of a group", kind)
            for name, value in group.items()
            if name != "params"
        }
        if "param_names" in options:
            before = options["param_names"]
            options["param_names"] = [
                name if isinstance(name, str) else before[name] for _, _, name in self.parameters
            ]
        return options


def _is_hooks(value: Any) -> bool:
    """Whether a value is a table of hooks: what is called by number, as torch keeps it."""
    return isinstance(value, dict) and all(
        isinstance(number, int) and callable(hook) for number, hook in value.items()
    )


def _first(pair: ModelPair, names: Sequence[str]) -> nn.Parameter | None:
    return next((pair.parameters[name] for name in names if name in pair.parameters), None)


def _in_order(group: Sequence[nn.Parameter], order: Sequence[int]) -> bool:
    """Whether all of a group's parameters are the model's, in the model's order."""
    place = {each: number for number, each in enumerate(order)}
    numbers = [place.get(id(parameter), -1) for parameter in group]
    return numbers == sorted(numbers) and -1 not in numbers


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
