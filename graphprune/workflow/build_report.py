"""Build the report of a run from what its stages found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.frozen import frozen, operator_of
from graphprune.cut.cut import Cut
from graphprune.data.calibration import Calibration
from graphprune.ir.inline_regions import autocast_types
from graphprune.ir.nodes import source_line
from graphprune.ir.relift import fixed_sizes
from graphprune.ops.fixed_random import random_calls
from graphprune.passes import Decision, Distilled, Finetuned, Merged, Recovered, Redundant, Scores
from graphprune.passes.lossless.redundant import only_redundant
from graphprune.passes.observe import Observations
from graphprune.pipeline import State
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.rebuild.computed_weights import estimated_weights
from graphprune.rebuild.rebuild import Rebuilt
from graphprune.report.inspection import size, unknown
from graphprune.report.layer_costs import curves, layers
from graphprune.report.report import GroupWidth, Report
from graphprune.report.text import SHOWN
from graphprune.verify.oracle import Verdict
from graphprune.verify.traced import TraceCheck
from graphprune.version import __version__

from .kept_outputs import KeptOutputs

__all__ = ["build_report"]

NARROW = 1 / 8
"""Share of a group's channels below which a note names it."""

_INEXACT = (
    "groups were cut through statistics, as allow_inexact permits: the result was verified "
    "against the dense model whose statistics read removed channels as neutral (the mean of the "
    "others, for LayerNorm), not as zero"
)
_NO_DATA = "without calibration data, only the weights were looked at"


def build_report(
    model: str,
    decided: State,
    done: State,
    rebuilt: Rebuilt,
    wrappers: Sequence[str],
    seconds: Mapping[str, float],
    settings: Mapping[str, str],
) -> Report:
    """Build the report of a run, without what is known only once files are written.

    Args:
        model: name of what was compressed.
        decided: the state after the decision.
        done: the state in the end.
        rebuilt: the smaller model, as the user's class or not.
        wrappers: names of what the model was wrapped in for training.
        seconds: per stage.
        settings: see ``Report``.
    """
    analysis, decision, verdict = decided[Analysis], done[Decision], done[Verdict]
    plan, allocation = decision.plan, decision.allocation
    data, recovered, distilled = decided.get(Calibration), done.get(Recovered), done.get(Distilled)
    finetuned = done.get(Finetuned)
    frozen_channels = frozen(analysis)
    budgets = tuple(asdict(each) | {"met": each.met} for each in decision.budgets)
    after = [len(group.keep) for group in plan.groups]
    cut_inexactly = _cut_inexactly(analysis, plan)
    return Report(
        model=model,
        before=size(analysis, analysis.widths.tolist()),
        after=size(analysis, after),
        budget=budgets[0] | {"met": all(each["met"] for each in budgets)},
        budgets=budgets,
        allocation={
            "method": allocation.method,
            "distortion": allocation.distortion,
            "lower_bound": allocation.lower_bound,
            "gap": allocation.gap,
        },
        groups=tuple(GroupWidth(g.id, g.width, len(g.keep), g.axes) for g in plan.groups),
        inexact=cut_inexactly,
        frozen=tuple(asdict(f) for f in frozen_channels),
        unknown_operators=unknown(analysis, frozen_channels),
        data_sizes=tuple(asdict(each) for each in analysis.data_sizes.measured.values()),
        traced=_traced(decided.get(TraceCheck)),
        oracle={
            "max_error": verdict.max_error,
            "tolerance": verdict.tolerance,
            "batches": list(verdict.batches),
        },
        lossless=_lossless(
            done.get(Redundant), done[Decision], recovered or distilled or finetuned
        ),
        eager={
            "own_class": rebuilt.own_class,
            "reason": rebuilt.reason,
            "max_error": rebuilt.max_error,
            "tolerance": rebuilt.tolerance,
            "precision": rebuilt.precision,
        },
        calibration={}
        if data is None
        else {"source": data.source, "samples": data.samples, "skipped": data.skipped},
        distilled={"before": distilled.before, "after": distilled.after, "steps": distilled.steps}
        if distilled
        else {},
        finetuned={name: value for name, value in asdict(finetuned).items() if name != "seconds"}
        if finetuned
        else {},
        recovery=asdict(recovered) if recovered else {},
        settings=settings,
        layers=layers(analysis, after, frozen_channels),
        curves=curves(decision.curves, plan.groups),
        notes=(
            *_wrapped(wrappers, model),
            *([found.note] if (found := decided.get(KeptOutputs)) else []),
            *decided[Scores].notes,
            *decision.notes,
            *([decision.origin] if decision.origin else []),
            *_narrow(plan),
            *_computed(done[Cut], rebuilt),
            *analysis.data_sizes.notes,
            *_random(analysis),
            *_autocast(decided.program),
            *_fixed(decided.program, done.program),
            *([_INEXACT] if cut_inexactly else []),
            *_merged(done.get(Merged), plan),
            *_nothing_redundant(done.get(Redundant)),
            *_of_data(data),
            *([seen.hint] if (seen := decided.get(Observations)) and seen.hint else []),
            *_of_table(decided.get(LatencyTable)),
            *_left_whole(decided.get(ClassConstraints)),
            *_unread(analysis),
        ),
        seconds=dict(seconds),
        versions={"graphprune": __version__, "torch": torch.__version__},
    )


def _wrapped(wrappers: Sequence[str], model: str) -> tuple[str, ...]:
    if not wrappers:
        return ()
    return (f"the {model} was taken out of what wraps it: {', '.join(wrappers)}",)


def _of_data(data: Calibration | None) -> tuple[str, ...]:
    if data is None:
        return (_NO_DATA,)
    skipped = f"unreadable files among the calibration data, skipped: {data.skipped}"
    return (*data.notes, *([skipped] if data.skipped else []))


def _of_table(table: LatencyTable | None) -> tuple[str, ...]:
    if table is None or not table.error:
        return ()
    said = ", ".join(f"{name} {value}" for name, value in table.machine.items())
    error = table.error
    note = (
        f"latencies are predicted ({said}, batch {table.batch}): over {error['networks']:.0f} whole "
        f"networks by {error['mean']:.1%} wrong on average, {error['largest']:.1%} at most"
    )
    return (note,)


def _traced(check: TraceCheck | None) -> dict[str, Any]:
    """Describe how far the program is from the module it was traced from."""
    if check is None:
        return {}
    return {
        "max_error": check.max_error,
        "tolerance": check.tolerance,
        "rounding": check.rounding,
        "batches": list(check.batches),
        "reference": "module",
        "note": check.note,
    }


def _left_whole(constraints: ClassConstraints | None) -> tuple[str, ...]:
    if constraints is None or not constraints.whole:
        return ()
    names = ", ".join(sorted(constraints.whole))
    return (f"left whole, as the code of the model's class can't follow: {names}",)


def _unread(analysis: Analysis) -> tuple[str, ...]:
    if not analysis.unread:
        return ()
    more = len(analysis.unread) - SHOWN
    said = ", ".join([*analysis.unread[:SHOWN], *([f"{more} more"] if more > 0 else [])])
    return (f"left as they are, since the model reads them in training at most: {said}",)


def _narrow(plan: Plan) -> tuple[str, ...]:
    """Name the groups that are all but gone, narrowest first: what reads them sees little of the input."""
    narrow = [g for g in plan.groups if len(g.keep) < NARROW * g.width]
    narrow.sort(key=lambda g: len(g.keep) / g.width)
    if not narrow:
        return ()
    named = [f"{g.id} ({len(g.keep)} of {g.width})" for g in narrow[:SHOWN]]
    more = [f"{len(narrow) - SHOWN} more"] if len(narrow) > SHOWN else []
    said = ", ".join([*named, *more])
    return (
        f"less than an eighth of the channels is left in {said}; max_cut bounds what a group loses",
    )


def _merged(found: Merged | None, plan: Plan) -> tuple[str, ...]:
    if found is None:
        return ()
    removed = sum(group.width - len(group.keep) for group in plan.groups)
    return (f"merged {sum(found.channels.values())} of {removed} removed channels into kept ones",)


def _lossless(found: Redundant | None, decision: Decision, changed: object) -> dict[str, Any]:
    """Describe the proof that channels went with no loss."""
    if found is None:
        return {}
    return {
        "of": "cut" if not changed and only_redundant(decision, found) else "freed",
        "max_error": found.max_error,
        "stored_error": found.stored_error,
        "tolerance": found.tolerance,
        "batches": list(found.batches),
        "groups": tuple({"group": name, **counts} for name, counts in found.reasons.items()),
    }


def _nothing_redundant(found: Redundant | None) -> tuple[str, ...]:
    if found is None or found.count:
        return ()
    return ("the weights prove of no channel that it goes with no loss",)


def _computed(cut: Cut, rebuilt: Rebuilt) -> tuple[str, ...]:
    """Say what became of weights that are computed from parameters."""
    if rebuilt.own_class:
        names = estimated_weights(rebuilt.model, cut)
        what = "divided by a spectral norm, which training estimates anew for the channels left"
    else:
        names = list(cut.baked.values())
        what = "stored as computed from the dense parameters, and trained as such"
    if not names:
        return ()
    weights = "1 weight is" if len(names) == 1 else f"{len(names)} weights are"
    note = f"{weights} {what}: {names[0]}"
    return (f"{note}, ..." if names[1:] else note,)


def _random(analysis: Analysis) -> tuple[str, ...]:
    calls = random_calls(analysis.module.graph)
    if not calls:
        return ()
    first = f"{operator_of(calls[0])} ({source_line(calls[0])})".replace(" ()", "")
    note = f"the model draws random numbers, held at fixed values in all measurements and checks: {first}"
    return (f"{note}, ..." if calls[1:] else note,)


def _autocast(program: ExportedProgram) -> tuple[str, ...]:
    types = autocast_types(program)
    note = "in the model's code was left out in all measurements and checks, and in model.pt2 and model.onnx"
    return (f"autocast to {', '.join(types)} {note}",) if types else ()


def _fixed(dense: ExportedProgram, small: ExportedProgram) -> tuple[str, ...]:
    names = ", ".join(fixed_sizes(small, dense))
    note = "torch can't export the smaller program with dynamic sizes, so the batch is fixed in model.pt2 and model.onnx"
    return (f"{note}: {names}",) if names else ()


def _cut_inexactly(analysis: Analysis, plan: Plan) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"group": group.id, "operator": operator_of(node), "where": source_line(node)}
        for group in plan.groups
        if len(group.keep) < group.width
        for node in analysis.inexact.get(group.id, ())
    )
