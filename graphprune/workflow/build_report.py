"""Build the report of a run from what its stages found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

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

_ERROR = ("max_error", "tolerance")
_FINETUNED = (
    "before", "after", "accuracy_before", "accuracy_after", "epochs", "steps", "samples"
)  # fmt: skip


def build_report(
    model: nn.Module | ExportedProgram,
    decided: State,
    done: State,
    rebuilt: Rebuilt,
    wrappers: Sequence[str],
    seconds: Mapping[str, float],
    settings: Mapping[str, str],
) -> Report:
    """Build the report of a run, without what is known only once files are written.

    Args:
        model: what was compressed.
        decided: the state after the decision.
        done: the state in the end.
        rebuilt: the smaller model, as the user's class or not.
        wrappers: names of what the model was wrapped in for training.
        seconds: per stage.
        settings: see ``Report``.
    """
    analysis, decision = decided[Analysis], done[Decision]
    plan, frozen_channels = decision.plan, frozen(analysis)
    budgets = tuple(asdict(each) | {"met": each.met} for each in decision.budgets)
    after = [len(group.keep) for group in plan.groups]
    inexact = _cut_inexactly(analysis, plan)
    recovered = done.get(Recovered)
    return Report(
        model=type(model).__name__,
        before=size(analysis, analysis.widths.tolist()),
        after=size(analysis, after),
        budget=budgets[0] | {"met": all(each["met"] for each in budgets)},
        budgets=budgets,
        allocation=_fields(decision.allocation, "method", "distortion", "lower_bound", "gap"),
        groups=tuple(GroupWidth(g.id, g.width, len(g.keep), g.axes) for g in plan.groups),
        inexact=inexact,
        frozen=tuple(asdict(f) for f in frozen_channels),
        unknown_operators=unknown(analysis, frozen_channels),
        data_sizes=tuple(asdict(each) for each in analysis.data_sizes.measured.values()),
        traced=_traced(decided.get(TraceCheck)),
        oracle=_fields(done[Verdict], *_ERROR, "batches", *(["blind"] * done[Verdict].blind)),
        lossless=_lossless(done),
        eager=_fields(rebuilt, "own_class", "reason", *_ERROR, "precision"),
        calibration=_fields(decided.get(Calibration), "source", "samples", "skipped"),
        distilled=_fields(done.get(Distilled), "before", "after", "steps"),
        finetuned=_fields(done.get(Finetuned), *_FINETUNED),
        recovery=asdict(recovered) if recovered else {},
        settings=settings,
        layers=layers(analysis, after, frozen_channels),
        curves=curves(decision.curves, plan.groups),
        notes=(
            *_unwrapped(type(model).__name__, wrappers),
            *report_notes(model, decided, done, rebuilt, inexact=bool(inexact)),
        ),
        seconds=dict(seconds),
        versions={"graphprune": __version__, "torch": torch.__version__},
    )


def _fields(value: object, *names: str) -> dict[str, Any]:
    """Return some fields of a value by their names, none if there is no value; tuples as lists, as JSON has them."""
    if value is None:
        return {}
    found = {name: getattr(value, name) for name in names}
    return {name: list(each) if isinstance(each, tuple) else each for name, each in found.items()}


def _unwrapped(model: str, wrappers: Sequence[str]) -> tuple[str, ...]:
    """Say in a note what the model was taken out of, if it was."""
    if not wrappers:
        return ()
    return (f"the {model} was taken out of what wraps it: {', '.join(wrappers)}",)


def _traced(check: TraceCheck | None) -> dict[str, Any]:
    """Describe how far the program is from the module it was traced from."""
    if check is None:
        return {}
    error = _fields(check, *_ERROR, "rounding", "batches")
    return error | {"reference": "module", "note": check.note}


def _lossless(done: State) -> dict[str, Any]:
    """Describe the proof that channels went with no loss."""
    found = done.get(Redundant)
    if found is None:
        return {}
    changed = any(kind in done.facts for kind in (Recovered, Distilled, Finetuned))
    cut = not changed and only_redundant(done[Decision], found)
    return {
        "of": "cut" if cut else "freed",
        **_fields(found, "max_error", "stored_error", "tolerance", "batches"),
        "groups": tuple({"group": name, **counts} for name, counts in found.reasons.items()),
    }


def _cut_inexactly(analysis: Analysis, plan: Plan) -> tuple[Mapping[str, Any], ...]:
    """List the statistics over groups that lost channels, which zero parameters don't silence."""
    return tuple(
        {"group": group.id, "operator": operator_of(node), "where": source_line(node)}
        for group in plan.groups
        if len(group.keep) < group.width
        for node in analysis.inexact.get(group.id, ())
    )
