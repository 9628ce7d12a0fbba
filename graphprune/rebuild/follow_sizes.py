"""Let the numbers among a module's attributes follow a cut: its split sizes, its heads, its widths, its epsilons.

An attribute follows if, among the numbers that its module's own code passes to operators, all that equal it and change
become the same. Those that the code of ``forward`` doesn't pass may be for other methods: such a number follows if it
is a size of what the module's calls return, and all sizes that equal it become the same. That this is what the code
meant is proven afterwards, by comparison with the cut program.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx, nn

from graphprune.ir.nodes import bind
from graphprune.ir.private_torch import pytree
from graphprune.ops.facts import axes_of

from .absorb_scales import AbsorbedScales, absorb_scales

if TYPE_CHECKING:
    from graphprune.cut.cut import Cut

__all__ = [
    "Changes",
    "Edits",
    "changed_floats",
    "follow_sizes",
    "module_at",
    "modules_of",
    "numbers_of",
    "owner_of",
    "size_edits",
]

Edits = dict[tuple[str, ...], Any]
"""Path of a module, its attribute, and the field of that where it is an object; and what this becomes."""

_LOST = "_empty_nn_module_stack"
"""How torch names the place of a call that it made itself while it exported."""

_SLICE = re.compile(r"slice\((None|-?\d+), (None|-?\d+), (None|-?\d+)\)")

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@dataclass
class Changes:
    """Numbers of one module's code that a cut changes.

    Attributes:
        passed: number that the code passes to an operator -> what it becomes.
        lists: the same of whole lists of numbers.
        sizes: size of a channel axis of what its calls return -> what it becomes, also where it stays.
    """

    passed: dict[float, set[float]] = field(default_factory=lambda: defaultdict(set))
    lists: dict[tuple[Any, ...], set[tuple[Any, ...]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    sizes: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))


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
    for path, changes in _changes(cut, absorbed, strict=strict).items():
        module = module_at(model, path)
        floats = [old for old in changes.passed if type(old) is float]
        if isinstance(module, nn.RMSNorm) and module.eps is None and len(floats) == 1:
            became = changes.passed[
                floats[0]
            ]  # its epsilon is that of its dtype, which the graph spells out
            edits[path, "eps"] = next(iter(became)) if len(became) == 1 else floats[0]
        own = not type(module).__module__.startswith("torch.") or type(module) is nn.Unflatten
        for name, value in vars(module).items():
            if name in _OF_EVERY_MODULE:
                continue
            if _is_number(value) or (own and _is_list(value)):
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
    if _is_number(value):
        return _number(value, changes, unread=unread)
    return _list(value, changes, unread=unread) if _is_list(value) else value


def _number(value: float, changes: Changes, *, unread: bool) -> float:
    became = changes.passed.get(value)
    if became is None and unread and type(value) is int:
        became = cast("set[float] | None", changes.sizes.get(value))
    return next(iter(became)) if became and len(became) == 1 else value


def _list(value: Sequence[Any], changes: Changes, *, unread: bool) -> Any:
    if not value or not all(map(_is_number, value)):
        return value
    whole = changes.lists.get(tuple(value), set())
    new = (
        list(next(iter(whole)))
        if len(whole) == 1
        else [_number(each, changes, unread=unread) for each in value]
    )
    return value if new == list(value) else type(value)(new)  # type: ignore[call-arg]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


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
            if _is_number(each):
                yield float(each)


def _changes(cut: Cut, absorbed: AbsorbedScales, *, strict: bool) -> Mapping[str, Changes]:
    """Collect what changes in the code of each module, by its path."""
    found: dict[str, Changes] = defaultdict(Changes)
    for node, facts in cut.analysis.facts.items():
        changes = found[owner_of(node)]
        before = bind(node)
        for name, value in facts.rewrites.items():
            new = value(cut.kept)
            for old, now in _changed(before[name], new):
                changes.passed[old].add(now)
            _add_list(changes, before[name], new)
        replaced = facts.replacement(cut.kept) if facts.replacement else None
        if strict and not replaced:
            _add_staying(
                changes, before, {n: value(cut.kept) for n, value in facts.rewrites.items()}
            )
        stated = _add_replaced(changes, cut, before, replaced[1]) if replaced else set[int]()
        for axis in axes_of(cut.analysis.layouts.get(node)):
            if not axis.shape[1]:
                continue
            size, left = len(axis), int(cut.kept(axis).sum())
            changes.sizes[size].add(left)
            if size in stated:  # of a part that is split off
                changes.passed[size].add(left)
    for node, old, new in absorbed.literals:
        found[owner_of(node)].passed[old].add(new)
    return found


def changed_floats(cut: Cut) -> Iterator[tuple[float, float]]:
    """Yield the floating-point numbers of a model's code that a cut changes, before and after, such as a norm's epsilon."""
    for node, facts in cut.analysis.facts.items():
        before = bind(node) if facts.rewrites else {}
        for name, value in facts.rewrites.items():
            pairs = _changed(before[name], value(cut.kept))
            yield from ((old, new) for old, new in pairs if type(old) is float)
    for _, old, new in absorb_scales(cut).literals:
        yield old, new


def _add_staying(changes: Changes, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Add the numbers among a call's arguments that stay as they are."""
    for name, value in before.items():
        olds, news = (pytree.tree_leaves(each) for each in (value, after.get(name, value)))
        for old, new in zip(olds, news, strict=False):
            if type(old) is int and old == new:
                changes.passed[old].add(old)


def _add_replaced(
    changes: Changes, cut: Cut, before: Mapping[str, Any], after: Mapping[str, Any]
) -> set[int]:
    """Add what the arguments of a call become of which a cut program makes another one.

    Returns:
        Numbers among the arguments that may be sizes of parts which are split off.
    """
    for name, new in after.items():
        _add_list(changes, before.get(name), new)
    _add_bounds(changes, cut, before, after)
    others = {name: value for name, value in before.items() if type(after.get(name)) is not int}
    return {x for x in pytree.tree_leaves(others) if type(x) is int}


def _add_bounds(
    changes: Changes, cut: Cut, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Add the bounds of a slice, which may be other numbers than its size: ``x[:, n:]``, ``x[:, -n:]``."""
    layout = cut.analysis.layouts.get(before["self"])
    if "start" not in after or not isinstance(layout, tuple):
        return
    axis = layout[after["dim"]]
    left = int(cut.kept(axis).sum())
    for name in ("start", "end"):
        old, new = before.get(name), after[name]
        if type(old) is int and 0 < old <= len(axis):
            changes.passed[old].add(new)
        elif type(old) is int and -len(axis) <= old < 0:
            changes.passed[-old].add(left - new)


def _add_list(changes: Changes, old: Any, new: Any) -> None:
    if all(isinstance(each, list | tuple) for each in (old, new)) and all(
        type(number) is int for number in (*old, *new)
    ):
        changes.lists[tuple(old)].add(tuple(new))


def _changed(old: Any, new: Any) -> list[tuple[float, float]]:
    """Return the pairs of numbers that differ, position by position."""
    olds, news = pytree.tree_leaves(old), pytree.tree_leaves(new)
    pairs = zip(olds, news, strict=False)
    return [(a, b) for a, b in pairs if type(a) is type(b) and _is_number(a) and a != b and b > 0]


def module_at(model: nn.Module, path: str) -> nn.Module:
    """Return the part of a module that a path names, also through slices of containers, as torch may name them.

    Args:
        model: the whole.
        path: such as ``layers.slice(None, -1, None).0``.
    """
    found: Any = model
    for part in path.split(".") if path else ():
        bounds = _SLICE.fullmatch(part)
        if bounds is None:
            found = getattr(found, part)
        else:
            found = found[slice(*(None if x == "None" else int(x) for x in bounds.groups()))]
    return found


def owner_of(node: fx.Node) -> str:
    """Return the path of the module whose code made a call; that of the whole where torch has lost it."""
    stack = node.meta.get("nn_module_stack")
    path = list(stack.values())[-1][0] if stack else ""
    return "" if path.startswith(_LOST) else path


def modules_of(node: fx.Node) -> list[str]:
    """List the paths of the modules whose code made a call, the outermost first, without the whole."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, *_ in stack.values()]
    return [path for path in paths if path and not path.startswith(_LOST)]
