"""Wording: how numbers, names and findings are written, on a terminal and in a page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "allocation",
    "amount",
    "change",
    "distilled",
    "printable",
    "recovered",
    "searched",
    "share",
    "target",
]

SHOWN = 3
"""So many names of several."""


def amount(value: float) -> str:
    """Four digits and a unit: ``4.481 M``; the space stays where there is no unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g} "


def change(before: float, after: float) -> str:
    """``-50.1%``, or nothing where there is no change."""
    return f"{after / before - 1:+.1%}" if before and after != before else ""


def share(before: float, after: float) -> float:
    """How much of something is gone, 0 to 1."""
    return min(max(1 - after / before, 0.0), 1.0) if before else 0.0


def target(asked: float, bound: float, dense: float, *, met: bool) -> str:
    """A budget and whether it is met: ``target <= 50.0% met``."""
    goal = f"{asked:.1%}" if asked <= 1 else f"{amount(bound)} ({bound / dense:.1%})"
    return f"target <= {goal} {'met' if met else 'MISSED'}"


COSTS = {
    "macs": "MACs",
    "params": "parameters",
    "latency": "latency (us)",
    "memory": "memory (bytes)",
    "size": "ONNX file (bytes)",
}
"""What a budget may bound, as people read it."""


def targets(found: Sequence[Mapping[str, Any]]) -> str:
    """``Report.budgets``: one as ``target`` says it, several with the names of their costs."""
    said = [target(each["asked"], each["bound"], each["dense"], met=each["met"]) for each in found]
    if len(said) == 1:
        return said[0]
    names = [COSTS.get(each["cost"], each["cost"]) for each in found]
    return "; ".join(f"{name}: {text}" for name, text in zip(names, said, strict=True))


def printable(text: str) -> str:
    """Names come from files: spell out what could move a cursor or turn the line around."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def allocation(found: Mapping[str, Any]) -> str:
    """Write ``Report.allocation`` in a sentence."""
    gap = found["gap"]
    certified = "no certificate" if gap is None else f"certified gap {gap:.2%}"
    return f"{found['method']}, distortion {found['distortion']:.4g}, {certified}"


def recovered(found: Mapping[str, Any]) -> str:
    """Write ``Report.recovery`` in a sentence."""
    left, more = found["left"], len(found["left"]) - SHOWN
    beside = (
        f"; not looked at: {', '.join(left[:SHOWN])}{f' and {more} more' * (more > 0)}"
        if left
        else ""
    )
    return (
        "held-out error {before:.3g} -> {after:.3g} of the outputs' variance, {refitted} of "
        "{layers} layers refitted"
    ).format(**found) + beside


def distilled(found: Mapping[str, Any]) -> str:
    """Write ``Report.distilled`` in a sentence."""
    if not found["steps"]:
        return (
            "no step taken, getting ready used up the time: give more of it, or a number of steps"
        )
    return (
        "{steps} steps, held-out error {before:.3g} -> {after:.3g} of the outputs' variance"
    ).format(**found)


def searched(found: Mapping[str, Any]) -> str:
    """Write ``Report.search`` in a sentence."""
    return "dense {dense:.2%}, this one {accuracy:.2%}, allowed drop {max_drop:.2%}".format(**found)
