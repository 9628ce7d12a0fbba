"""Choose what decides which channels stay: budgets, a given plan, or the proof that channels are redundant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from graphprune.errors import OptionError
from graphprune.passes import Allocate, Choose, LosslessPlan
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.passes.latency import ProfileLatency
from graphprune.passes.tune_latency import SettleLatency, TuneLatency
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan.budget import Budget, budgets
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan

from .options import Options

__all__ = [
    "Decider",
    "beside_plan",
    "branches_may_go",
    "chooser_of",
    "deciding_passes",
]

_CHOOSING = (
    "allocate",
    "round_to",
    "min_channels",
    "max_cut",
    "protect",
    "keep_class",
    "any_width",
    "uniform",
    "keep_config",
    "depth",
    "allow_inexact",
    "lossless",
)
"""The options that say how a plan is chosen."""

Decider: TypeAlias = Allocate | GivenPlan | LosslessPlan
"""The pass that makes the decision."""


def beside_plan(options: Options, amounts: Mapping[str, float | str | None], plan: Plan) -> Options:
    """Complete the options by what a given plan says itself.

    Args:
        options: as they were given.
        amounts: the budgets, by the names of their arguments; ``None`` where there is none.
        plan: the plan to apply.

    Raises:
        OptionError: if there is a budget, or an option that says how to choose a plan: it would be ignored.
    """
    if bounds := tuple(name for name, amount in amounts.items() if amount is not None):
        raise OptionError("give a budget or a plan, not both", options=("plan", *bounds))
    usual = Options()
    given = {n: getattr(options, n) for n in _CHOOSING}
    ignored = tuple(n for n, value in given.items() if value not in (getattr(usual, n), [], (), ""))
    if ignored:
        raise OptionError("a plan decides already; leave out what chooses one", options=ignored)
    return replace(
        options,
        # Its channels are chosen: weights suffice to say what is removed.
        score=options.score or "l2",
        allow_inexact=plan.allow_inexact,
        lossless=bool(plan.redundant),
        redundant=plan.redundant or None,
    )


def chooser_of(
    options: Options, amounts: Mapping[str, float | str | None]
) -> Allocate | LosslessPlan:
    """Make the pass that chooses widths: within budgets, or what is lossless, or what feeds the kept outputs.

    Args:
        options: how to compress, whatever the budget.
        amounts: the budgets, by the names of their arguments; ``None`` where there is none.

    Raises:
        OptionError: if these contradict each other, or nothing says how much goes.
    """
    free = all(amount is None for amount in amounts.values())
    if free and options.lossless:
        return _lossless_plan(options)
    if free and options.outputs:
        return options.allocator(Budget("macs", 1.0))
    return options.allocator(*budgets(amounts))


def _lossless_plan(options: Options) -> LosslessPlan:
    """Make the pass that removes redundant channels only.

    Raises:
        OptionError: if weights are to be changed as well, or an option has no meaning without a budget.
    """
    changes = {
        "recover": options.recover not in (None, "none"),
        "distil": options.distil is not None,
        "finetune": options.finetune is not None,
    }
    wrong = tuple(name for name, given in changes.items() if given)
    if wrong:
        raise OptionError(
            f"lossless alone changes nothing that {wrong[0]} could repair",
            hint="give a budget as well",
            options=wrong,
        )
    unused = {
        "allocate": options.allocate != "dp",
        "round_to": options.round_to == "auto",
        "depth": options.depth,
    }
    wrong = tuple(name for name, given in unused.items() if given)
    if wrong:
        raise OptionError(
            "lossless alone removes what the weights prove, and has no use for these options",
            hint="give a budget as well",
            options=wrong,
        )
    return LosslessPlan(limits=options.allocator(Budget("macs", 1.0)).limits)


def deciding_passes(options: Options, decider: Decider, state: State) -> tuple[AnalysisPass, ...]:
    """List the passes that lead to a decision on a state that has scores: measuring times, trying refits."""
    if not isinstance(decider, Allocate):
        return (decider,)
    how = Choose(decider) if options.recovery(state) == "ls" else decider
    if decider.needs_table and not isinstance(options.latency_table, LatencyTable):
        profile = options.latency_table or ProfileLatency(depth=options.depth)
        if not any(budget.cost == "latency" for budget in decider.budgets):
            return profile, how
        tuned = TuneLatency(allocate=decider, profile=profile)
        return profile, tuned, how, SettleLatency(allocate=decider, profile=profile)
    return (how,)


def branches_may_go(
    asked: bool | None,
    *,
    latency: float | str | None,
    table: LatencyTable | ProfileLatency | None,
    calibration: object,
    recover: str | None = None,
) -> bool:
    """Whether plans may remove whole branches, if it isn't said.

    They may under a latency budget, where a branch takes the fixed times of its operators along, which narrow
    layers have as well. Data have to show which branches, and times have to be measured for networks without them.

    Args:
        asked: what is said.
        latency: the budget, if there is one.
        table: of times, if they were measured before.
        calibration: data, if there are any.
        recover: how accuracy is given back; only a refit knows what to put in the place of a branch.
    """
    if asked is not None:
        return asked
    measured = bool(latency) and not isinstance(table, LatencyTable)
    return measured and calibration is not None and recover in (None, "ls")
