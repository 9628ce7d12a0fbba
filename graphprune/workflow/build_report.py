"""Build the report of a run from what its stages found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.frozen import frozen, operator_of
from graphprune.data.calibration import Calibration
from graphprune.ir.nodes import source_line
from graphprune.passes import Decision, Distilled, Finetuned, Recovered, Redundant
from graphprune.passes.lossless.redundant import only_redundant
from graphprune.pipeline import State
from graphprune.plan.plan import Plan
from graphprune.rebuild.rebuild import Rebuilt
from graphprune.report.inspection import size, unknown
from graphprune.report.layer_costs import curves, layers
from graphprune.report.report import GroupWidth, Report
from graphprune.verify.oracle import Verdict
from graphprune.verify.traced import TraceCheck
from graphprune.version import __version__

from .report_notes import report_notes

__all__ = ["build_report"]


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
    wrapped = (
        f"the {model} was taken out of what wraps it: {', '.join(wrappers)}" if wrappers else ""
    )
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
        notes=report_notes(decided, done, rebuilt, wrapped=wrapped, inexact=bool(cut_inexactly)),
        seconds=dict(seconds),
        versions={"graphprune": __version__, "torch": torch.__version__},
    )


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


def _cut_inexactly(analysis: Analysis, plan: Plan) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"group": group.id, "operator": operator_of(node), "where": source_line(node)}
        for group in plan.groups
        if len(group.keep) < group.width
        for node in analysis.inexact.get(group.id, ())
    )
