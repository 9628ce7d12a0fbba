"""Turn the text of options into budgets, numbers, plans, tables and devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.errors import LoadError, OptionError, PlanError

if TYPE_CHECKING:
    import torch

    from graphprune.passes.allocate.rounding import Rounding
    from graphprune.plan.latency_table import LatencyTable
    from graphprune.plan.plan import Plan

__all__ = ["budgets", "device", "latency_table", "numbers", "patterns", "plan", "rounding", "sizes"]


def budgets(**amounts: str) -> dict[str, Any]:
    """Select the budgets that were given, as keyword arguments.

    Raises:
        OptionError: unless there is one, and all can be read.
    """
    from graphprune.plan.budget import budgets as parse

    parse(amounts)
    return {name: amount for name, amount in amounts.items() if amount}


def rounding(text: str) -> Rounding:
    """Parse the value of ``--round-to``.

    Raises:
        OptionError: if it can't be read.
    """
    if text in ("fast", "auto"):
        return text
    try:
        return int(text)
    except ValueError as error:
        raise OptionError(
            f"can't read --round-to {text!r}", hint="write 8, fast or auto"
        ) from error


def patterns(entries: list[str] | None) -> tuple[tuple[str, ...], ...]:
    """Split entries of patterns at their commas."""
    return tuple(tuple(entry.split(",")) for entry in entries or ())


def numbers(option: str, text: str, least: int = 1) -> list[int]:
    """Parse a list of numbers, such as ``1,8``.

    Raises:
        OptionError: unless there are some, all large enough.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"can't read {option} {text!r}", hint="write 1, or 1,8") from error
    if min(found) < least:
        raise OptionError(f"{option} must be at least {least}")
    return found


def sizes(option: str, pairs: list[str]) -> dict[str, int]:
    """Parse pairs ``NAME=N`` into a table.

    Raises:
        OptionError: if one can't be read.
    """
    found: dict[str, int] = {}
    for pair in pairs:
        name, equals, number = pair.rpartition("=")
        if not equals or not name:
            raise OptionError(f"can't read {option} {pair!r}", hint="write NAME=128")
        (found[name],) = numbers(option, number)
    return found


def plan(path: Path) -> Plan:
    """Read a plan from its file.

    Raises:
        PlanError: if it can't be read, or isn't one.
    """
    from graphprune.io.strict_json import read_text
    from graphprune.plan.plan import MAX_BYTES, Plan

    return Plan.from_json(read_text(path, MAX_BYTES, PlanError))


def latency_table(path: Path | None) -> LatencyTable | None:
    """Read a latency table, if one is named.

    Raises:
        LoadError: if it can't be read, or isn't one.
    """
    if path is None:
        return None
    from graphprune.io.strict_json import read_text
    from graphprune.plan.latency_table import MAX_BYTES, LatencyTable

    return LatencyTable.from_json(read_text(path, MAX_BYTES, LoadError))


def device(text: str) -> torch.device | None:
    """Find the device that is named, if one is.

    Raises:
        OptionError: if there is no such device here.
    """
    if not text:
        return None
    from graphprune.ir.devices import find_device

    return find_device(text)
