"""Let the numbers among a module's attributes follow a cut: its split sizes, its heads, its widths, its epsilons.

An attribute follows if, among the numbers that its module's own code passes to operators, all that equal it and change
become the same. Those that the code of ``forward`` doesn't pass may be for other methods: such a number follows if it
is a size of what the module's calls return, and all sizes that equal it become the same. That this is what the code
meant is proven afterwards, by comparison with the cut program.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from graphprune.ir.module_paths import module_at

from .changed_numbers import Changes, changes_of, is_number

if TYPE_CHECKING:
    from graphprune.cut.cut import Cut

    from .absorb_scales import AbsorbedScales

__all__ = ["Edits", "follow_sizes", "numbers_of", "size_edits"]

Edits = dict[tuple[str, ...], Any]
"""Path of a module, its attribute, and the field of that where it is an object; and what this becomes."""

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def size_edits(
    model: nn.Module, cut: Cut, absorbed: AbsorbedScales, *, unread: bool, strict: bool = False
) -> Edits:
    """Find the numbers among the attributes of a module's parts that follow a cut, and what they become.

    Args:
        model: the dense module.
        cut: what is removed.
        absorbed: what takes over factors of the cut program.
        unread: let numbers follow that ``forward`` passes to no operator.
        strict: let no number follow that the module's code passes to another operator where it stays.
    """
    edits: Edits = {}
    for path, changes in changes_of(cut, absorbed, strict=strict).items():
        module = module_at(model, path)
        floats = [old for old in changes.passed if type(old) is float]
        if isinstance(module, nn.RMSNorm) and module.eps is None and len(floats) == 1:
            # Its epsilon is that of its dtype, which the graph spells out.
            became = changes.passed[floats[0]]
            edits[path, "eps"] = next(iter(became)) if len(became) == 1 else floats[0]
        own = not type(module).__module__.startswith("torch.") or type(module) is nn.Unflatten
        for name, value in vars(module).items():
            if name in _OF_EVERY_MODULE:
                continue
            if is_number(value) or (own and _is_list(value)):
                if (new := _followed(value, changes, unread=unread and own)) is not value:
                    edits[path, name] = new
            elif own and _holds_numbers(value):
                for inner, each in vars(value).items():
                    if (new := _followed(each, changes, unread=False)) is not each:
                        edits[path, name, inner] = new
    return edits


def follow_sizes(model: nn.Module, edits: Edits) -> None:
    """Write numbers into the attributes of a module's parts, in place.

    Args:
        model: with sliced tensors.
        edits: what ``size_edits`` found. An object that holds numbers, such as a config, is copied for each module
            whose numbers follow.
    """
    copied: dict[tuple[str, str], Any] = {}
    for (path, name, *inner), new in edits.items():
        held = vars(module_at(model, path))
        if not inner:
            held[name] = copy.copy(new)
            continue
        if (path, name) not in copied:
            copied[path, name] = held[name] = copy.copy(held[name])
        vars(copied[path, name])[inner[0]] = copy.copy(new)


def _followed(value: Any, changes: Changes, *, unread: bool) -> Any:
    """Return what a number or a list becomes; the same object if it stays.

    Args:
        value: of an attribute.
        changes: of the module's code.
        unread: let sizes follow too.
    """
    if is_number(value):
        return _number(value, changes, unread=unread)
    return _list(value, changes, unread=unread) if _is_list(value) else value


def _number(value: float, changes: Changes, *, unread: bool) -> float:
    became = changes.passed.get(value)
    if became is None and unread and type(value) is int:
        became = cast("set[float] | None", changes.sizes.get(value))
    return next(iter(became)) if became and len(became) == 1 else value


def _list(value: Sequence[Any], changes: Changes, *, unread: bool) -> Any:
    if not value or not all(map(is_number, value)):
        return value
    whole = changes.lists.get(tuple(value), set())
    new = (
        list(next(iter(whole)))
        if len(whole) == 1
        else [_number(each, changes, unread=unread) for each in value]
    )
    return value if new == list(value) else type(value)(new)  # type: ignore[call-arg]


def _is_list(value: Any) -> bool:
    return type(value) in (list, tuple, torch.Size)


def _holds_numbers(value: Any) -> bool:
    """Whether a value is an object with plain attributes, such as a config."""
    return (
        hasattr(value, "__dict__")
        and not callable(value)
        and not isinstance(value, nn.Module | torch.Tensor | Enum | ModuleType)
    )


def numbers_of(module: nn.Module) -> Iterator[float]:
    """Yield the numbers that a module holds as attributes, or in objects that it holds, such as a config."""
    for name, value in vars(module).items():
        if name in _OF_EVERY_MODULE:
            continue
        inner = list(vars(value).values()) if _holds_numbers(value) else []
        for each in (value, *inner):
            if is_number(each):
                yield float(each)
