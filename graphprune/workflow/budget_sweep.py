"""Try several budgets on a model that is traced and scored once: a search, and a budget curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.data import Source, accuracy, prepared
from graphprune.errors import InfeasibleBudgetError, OptionError
from graphprune.ir.unwrap import unwrap
from graphprune.loading.image_preparation import brought_by
from graphprune.passes import Decision
from graphprune.passes.allocate.costs import cost_of
from graphprune.passes.allocate.rounding import Rounding
from graphprune.pipeline import Progress, State
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable
from graphprune.report.budget_curve import Point

from .accuracy_search import Probe, parse_drop, smallest
from .job import Job
from .options import Options
from .result import Result
from .start import Data

if TYPE_CHECKING:
    from graphprune.passes import Criterion

__all__ = ["compress_within", "sweep"]

_DECIDING = ("flops", "params", "latency", "memory", "size", "plan")
"""Arguments of ``compress`` that decide how much goes."""


def compress_within(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] | torch.Tensor = (),
    *,
    max_drop: float | str,
    val: Source | str | Path,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Data | None = None,
    samples: int = 1024,
    progress: Progress | None = None,
    tell: Callable[[Probe], None] = lambda _: None,
    **options: Any,
) -> Result:
    """Make a classifier as small as possible while its accuracy drops by at most a given amount.

    Args:
        model: as in ``compress``.
        example_inputs: as in ``compress``.
        max_drop: of the share of labelled samples that get the right class: ``0.01``, ``"1%"``.
        val: labelled samples: ``gp.images`` of a folder of class folders, a file with arrays ``x``
            and ``y``, or the name of a callable that returns pairs.
        example_kwargs: as in ``compress``.
        calibration: as in ``compress``.
        samples: as in ``compress``.
        progress: as in ``compress``.
        tell: called with every budget that was tried.
        options: further ones of ``compress``, but no budget.

    Returns:
        The smallest result that was found to hold; all that was tried is in ``report.search``.

    Raises:
        InfeasibleBudgetError: if none holds.
        OptionError: if there is a budget or a plan.
        GraphpruneError: as ``compress``.
    """
    allowed = parse_drop(max_drop)
    if wrong := tuple(name for name in _DECIDING if name in options):
        raise OptionError("max_drop decides the budget; leave out any other", options=wrong)
    source = prepared(val, brought_by(unwrap(model)))
    options["depth"] = bool(options.get("depth"))  # by default not, under a budget of FLOPs
    how = Options(**options)
    job = Job.begin(model, example_inputs, example_kwargs, calibration, samples, how, progress)

    def made(budget: float) -> Result:
        return job.result(how.allocator(Budget.flops(budget)))

    def measure(result: Result) -> tuple[float, float]:
        cost = result.report.after.macs / result.report.before.macs
        return cost, accuracy(result.program, source, device=job.device)

    dense = accuracy(job.scored.program, source, device=job.device)
    found = smallest(made, measure, dense=dense, max_drop=allowed, tell=tell)
    search = {
        "max_drop": allowed,
        "dense": found.dense,
        "accuracy": found.probe.accuracy,
        "probes": tuple(asdict(probe) for probe in found.probes),
    }
    return replace(found.made, report=replace(found.made.report, search=search))


def sweep(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] | torch.Tensor = (),
    budgets: Sequence[float] = (),
    *,
    tell: Callable[[Point], object] = lambda _: None,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Data | None = None,
    samples: int = 1024,
    val: Source | str | Path | None = None,
    score: str | Criterion | None = None,
    allocate: str = "dp",
    round_to: Rounding = "fast",
    keep_class: bool = False,
    any_width: bool = False,
    uniform: Sequence[str | Sequence[str]] = (),
    keep_config: bool = False,
    depth: bool = False,
    device: str | torch.device | None = None,
    latency_table: LatencyTable | None = None,
    strict_ops: bool = False,
    allow_inexact: bool = False,
    progress: Progress | None = None,
) -> tuple[Point, ...]:
    """Find out what a model loses at each of several budgets of FLOPs.

    Args:
        model: as in ``compress``, and so are all arguments that aren't named here.
        example_inputs: as in ``compress``.
        budgets: shares of the dense FLOPs.
        tell: called with every point as soon as it is known.
        example_kwargs: as in ``compress``.
        calibration: as in ``compress``.
        samples: as in ``compress``.
        val: labelled samples, as in ``compress_within``: each plan is applied and measured.
        score: as in ``compress``.
        allocate: as in ``compress``.
        round_to: as in ``compress``.
        keep_class: as in ``compress``.
        any_width: as in ``compress``.
        uniform: as in ``compress``.
        keep_config: as in ``compress``.
        depth: as in ``compress``.
        device: as in ``compress``.
        latency_table: adds predicted latencies.
        strict_ops: as in ``compress``.
        allow_inexact: as in ``compress``.
        progress: as in ``compress``.

    Returns:
        One point for each budget, in the order given.

    Raises:
        GraphpruneError: as ``compress``, but a budget that no plan meets is a point of its own.
    """
    source = None if val is None else prepared(val, brought_by(unwrap(model)))
    how = Options(
        score=score,
        allocate=allocate,
        round_to=round_to,
        latency_table=latency_table,
        keep_class=keep_class,
        any_width=any_width,
        uniform=uniform,
        keep_config=keep_config,
        depth=depth,
        device=device,
        strict_ops=strict_ops,
        allow_inexact=allow_inexact,
    )
    job = Job.begin(model, example_inputs, example_kwargs, calibration, samples, how, progress)
    found: list[Point] = []
    for share in budgets:
        found.append(_point(job, share, latency_table, source))
        tell(found[-1])
    return tuple(found)


def _point(job: Job, share: float, table: LatencyTable | None, val: Source | None) -> Point:
    """Decide on widths for a budget, and find out what is lost; a point without figures, if no plan meets it."""
    job.scored.tell(f"budget-{share:g}")
    try:
        decided = job.decide(job.options.allocator(Budget.flops(share)))
    except InfeasibleBudgetError:
        return Point(share)
    analysis, plan = decided[Analysis], decided[Decision].plan
    return Point(
        asked=share,
        flops=plan.predicted["macs"] / analysis.dense_macs,
        params=plan.predicted["params"] / analysis.costs.params.at(analysis.widths),
        distortion=decided[Decision].allocation.distortion,
        latency=None if table is None else _milliseconds(decided, table),
        accuracy=None
        if val is None
        else accuracy(job.cut(decided).program, val, device=job.device),
    )


def _milliseconds(decided: State, table: LatencyTable) -> float:
    """Predict the time of a run of the smaller network."""
    plan = decided[Decision].plan
    widths = [len(group.keep) for group in plan.groups]
    depth = bool(plan.removed)
    cost = cost_of("latency", decided[Analysis], decided.program, table, depth=depth)
    return cost.at(widths) / 1e3
