"""Find the smallest network whose measured accuracy drops by at most a given amount."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from graphprune.errors import InfeasibleBudgetError, OptionError

__all__ = ["Probe", "Smallest", "parse_drop", "smallest"]

FINEST = 1 / 64
"""Smallest difference between budgets that are told apart, as a share of the dense cost."""

LEAST = 1 / 64
"""The smallest budget that is tried, as a share of the dense cost."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Probe:
    """One compression that was tried.

    Attributes:
        budget: share of the dense FLOPs that was asked for.
        cost: share that was reached; ``None`` if no plan meets the budget.
        accuracy: 0 to 1; ``None`` likewise.
        drop: dense accuracy minus this one, in the same unit.
        holds: whether the drop is allowed.
    """

    budget: float
    cost: float | None = None
    accuracy: float | None = None
    drop: float | None = None
    holds: bool = False


@dataclass(frozen=True)
class Smallest(Generic[Made]):
    """The smallest result that holds, and all that was tried.

    Attributes:
        made: the result of the smallest probe that holds.
        probe: that probe.
        dense: accuracy of the dense network.
        probes: all, in the order they were tried.
    """

    made: Made
    probe: Probe
    dense: float
    probes: tuple[Probe, ...] = field(default=())


def smallest(
    compress: Callable[[float], Made],
    measure: Callable[[Made], tuple[float, float]],
    *,
    dense: float,
    max_drop: float,
    tell: Callable[[Probe], None] = lambda _: None,
) -> Smallest[Made]:
    """Bisect the budget for the smallest result that holds; each probe is a whole compression.

    Accuracy needn't fall steadily with the budget. The result is the smallest network that was *seen* to hold; the
    search ends where a budget fails that is at most 1/64 of the dense FLOPs below it.

    Args:
        compress: budget, a share of the dense FLOPs -> a compression.
        measure: a compression -> its share of the dense FLOPs, and its accuracy.
        dense: accuracy of the dense network, 0 to 1.
        max_drop: largest allowed drop of the accuracy, 0 to 1.
        tell: called with every probe as soon as it is known.

    Raises:
        InfeasibleBudgetError: if no probe holds.
    """
    probes: list[Probe] = []
    best: tuple[Probe, Made] | None = None
    fails, holds = LEAST / 2, 1.0  # not tried, both
    while holds - fails > FINEST:
        budget = (fails + holds) / 2
        made, probe = _probe(compress, measure, budget, dense, max_drop)
        probes.append(probe)
        tell(probe)
        if made is None or not probe.holds:
            fails = budget
            continue
        # A plan may cost less than it was allowed to: what it reached is what is known to hold.
        holds = min(budget, probe.cost or budget)
        if best is None or (probe.cost or 1) < (best[0].cost or 1):
            best = probe, made
    if best is None:
        costs = [probe.cost for probe in probes if probe.cost is not None]
        raise InfeasibleBudgetError(
            f"no smaller network was found whose accuracy drops by at most {max_drop:.2%} from "
            f"{dense:.2%}",
            smallest=min(costs, default=1.0),
            hint="allow a larger drop; more calibration data and distillation recover accuracy",
            options=("max_drop", "calibration", "distil"),
        )
    return Smallest(best[1], best[0], dense, tuple(probes))


def _probe(
    compress: Callable[[float], Made],
    measure: Callable[[Made], tuple[float, float]],
    budget: float,
    dense: float,
    max_drop: float,
) -> tuple[Made | None, Probe]:
    try:
        made = compress(budget)
    except InfeasibleBudgetError:
        return None, Probe(budget)
    cost, accuracy = measure(made)
    drop = dense - accuracy
    return made, Probe(budget, cost, accuracy, drop, drop <= max_drop + 1e-12)


def parse_drop(text: str | float) -> float:
    """Parse a drop of accuracy, ``1%`` or ``0.01``, as a share from 0 to 1.

    Raises:
        OptionError: if the text isn't one.

    >>> parse_drop("1%")
    0.01
    """
    written = str(text).strip()
    try:
        value = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError as error:
        raise OptionError(
            f"can't read {text!r} as a drop of accuracy", hint="1%, or 0.01", options=("max_drop",)
        ) from error
    if not 0 <= value < 1:
        raise OptionError(
            "a drop of accuracy lies between 0% and 100%", hint="1%, or 0.01", options=("max_drop",)
        )
    return value
