"""Collect the numbers of a model's code that a cut changes, by the module whose code passes them to operators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphprune.ir.module_paths import owner_of
from graphprune.ir.nodes import bind
from graphprune.ir.private_torch import pytree
from graphprune.ops.facts import axes_of

from .absorb_scales import AbsorbedScales, absorb_scales

if TYPE_CHECKING:
    from graphprune.cut.cut import Cut

__all__ = ["Changes", "changed_floats", "changes_of", "is_number"]


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


def changes_of(cut: Cut, absorbed: AbsorbedScales, *, strict: bool) -> Mapping[str, Changes]:
    """Collect what changes in the code of each module, by its path.

    Args:
        cut: what is removed.
        absorbed: what takes over factors of the cut program.
        strict: collect also the numbers that the code passes to an operator where they stay.
    """
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
    return [(a, b) for a, b in pairs if type(a) is type(b) and is_number(a) and a != b and b > 0]


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float, and no bool."""
    return type(value) in (int, float)
