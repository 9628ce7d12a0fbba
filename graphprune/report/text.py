"""Format numbers, names and findings, alike on a terminal and in a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "allocation",
    "amount",
    "change",
    "distilled",
    "few",
    "finetuned",
    "printable",
    "recovered",
    "searched",
    "share",
    "target",
    "targets",
]

SHOWN = 3
"""Most names of several that a sentence spells out."""


def few(names: Sequence[str], most: int = SHOWN) -> str:
    """Join the first of several names, and count the others.

    >>> few(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def amount(value: float) -> str:
    """Format a number with four digits and a unit: ``4.481 M``; the space stays without a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g} "


def change(before: float, after: float) -> str:
    """Format a relative change, ``-50.1%``; nothing where there is none."""
    return f"{after / before - 1:+.1%}" if before and after != before else ""


def share(before: float, after: float) -> float:
    """Compute the share of something that is gone, 0 to 1."""
    return min(max(1 - after / before, 0.0), 1.0) if before else 0.0


def target(asked: float, bound: float, dense: float, *, met: bool) -> str:
    """Format a budget and whether it is met: ``target <= 50.0% met``."""
    goal = f"{asked:.1%}" if asked <= 1 else f"{amount(bound)} ({bound / dense:.1%})"
    return f"target <= {goal} {'met' if met else 'MISSED'}"


COSTS = {
    "macs": "MACs",
    "params": "parameters",
    "latency": "latency (us)",
    "memory": "memory (bytes)",
    "size": "ONNX file (bytes)",
}
"""Names of the costs that a budget may bound, as people read them."""


def targets(found: Sequence[Mapping[str, Any]]) -> str:
    """Format ``Report.budgets``: one as ``target`` does, several with the names of their costs."""
    said = [target(each["asked"], each["bound"], each["dense"], met=each["met"]) for each in found]
    if len(said) == 1:
        return said[0]
    names = [COSTS.get(each["cost"], each["cost"]) for each in found]
    return "; ".join(f"{name}: {text}" for name, text in zip(names, said, strict=True))


def printable(text: str) -> str:
    """Spell out characters that could move a cursor or turn a line around: names come from files."""
    return "\n".join(
        line
        if line.isprintable()
        else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
        for line in text.split("\n")
    )


def allocation(found: Mapping[str, Any]) -> str:
    """Write ``Report.allocation`` in a sentence."""
    gap = found["gap"]
    certified = "no certificate" if gap is None else f"certified gap {gap:.2%}"
    return f"{found['method']}, distortion {found['distortion']:.4g}, {certified}"


def recovered(found: Mapping[str, Any]) -> str:
    """Write ``Report.recovery`` in a sentence."""
    beside = f"; not looked at: {few(found['left'])}" if found["left"] else ""
    scale = found.get("scale", 1.0)
    scaled = f", class scores times {scale:.2f}" if scale != 1 else ""
    return (
        "held-out error {before:.3g} -> {after:.3g} of the outputs' variance, {refitted} of "
        "{layers} layers refitted"
    ).format(**found) + f"{scaled}{beside}"


def distilled(found: Mapping[str, Any]) -> str:
    """Write ``Report.distilled`` in a sentence."""
    if not found["steps"]:
        return (
            "no step taken, getting ready used up the time: give more of it, or a number of steps"
        )
    return (
        "{steps} steps, held-out error {before:.3g} -> {after:.3g} of the outputs' variance"
    ).format(**found)


def finetuned(found: Mapping[str, Any]) -> str:
    """Write ``Report.finetuned`` in a sentence."""
    return (
        "{epochs} epochs of {samples} labelled samples, {steps} steps; held-out accuracy "
        "{accuracy_before:.2%} -> {accuracy_after:.2%}, cross-entropy {before:.3g} -> {after:.3g}"
    ).format(**found)


def searched(found: Mapping[str, Any]) -> str:
    """Write ``Report.search`` in a sentence."""
    return "dense {dense:.2%}, this one {accuracy:.2%}, allowed drop {max_drop:.2%}".format(**found)
