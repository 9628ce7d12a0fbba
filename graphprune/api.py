"""The library's front door, and the only place that puts the stages together.

load -> trace -> analyse -> score -> allocate -> cut -> verify -> fold -> export -> report
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.export import ExportedProgram

from graphprune.analysis import Analysis, analyse
from graphprune.artifacts import PROGRAM
from graphprune.budget import Budget, budgets
from graphprune.calibration import Calibration
from graphprune.cut import cut
from graphprune.data import Source, accuracy, calibrate, open_source
from graphprune.eager import rebuild, trainable_graph
from graphprune.errors import InfeasibleBudgetError, PlanError
from graphprune.front import Point
from graphprune.latency import LatencyTable
from graphprune.loading import check_finite
from graphprune.loading import load as load_file
from graphprune.passes import (
    CRITERIA,
    Allocate,
    Analyse,
    Choose,
    Decision,
    Distil,
    Effort,
    Merge,
    Observe,
    Prune,
    Recover,
    Score,
)
from graphprune.passes.given import Given
from graphprune.passes.latency import Latency, ProfileLatency, workload
from graphprune.pipeline import AnalysisPass, Pipeline, State, TransformPass
from graphprune.plan import Plan
from graphprune.result import Result
from graphprune.search import Probe, parse_drop, smallest
from graphprune.summary import summarise
from graphprune.tracing import trace
from graphprune.verify import verify

if TYPE_CHECKING:
    from graphprune.passes import Criterion

__all__ = ["apply", "compress", "compress_within", "decide", "inspect", "load", "profile", "sweep"]

Progress = Callable[[str], Any]

Data = Calibration | Source | Iterable[Any]
"""Calibration data: see ``compress``."""


def compress(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] = (),
    *,
    flops: float | str | None = None,
    params: float | str | None = None,
    latency: float | str | None = None,
    memory: float | str | None = None,
    size: float | str | None = None,
    latency_table: LatencyTable | ProfileLatency | None = None,
    plan: Plan | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Data | None = None,
    samples: int = 1024,
    score: str | Criterion | None = None,
    recover: str | None = None,
    distil: Effort | str | int | None = None,
    augment: Sequence[str] = (),
    checkpoint: str | Path | None = None,
    allocate: str = "dp",
    round_to: int | Literal["auto"] = 1,
    min_channels: int = 1,
    max_cut: float = 1.0,
    protect: Sequence[str] = (),
    strict_ops: bool = False,
    allow_inexact: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Make a model smaller, to a budget.

    Args:
        model: a module, or an exported program (which brings its own inputs).
        example_inputs: positional inputs that the module accepts, batch first.
        flops: budget: up to 1 a fraction of the dense FLOPs, above it absolute (``"1.2G"``).
        params: the same for parameters. Give one budget or several, or a plan.
        latency: the same for the time of a run in onnxruntime: ``0.6``, ``"8ms"``.
        memory: the same for weights and the largest live activations of a sample: ``"20MB"``.
        size: the same for the ONNX file: ``"5MB"``.
        latency_table: what operators take; by default they are measured, on one thread.
        plan: apply this one instead of deciding.
        example_kwargs: keyword inputs.
        calibration: unlabelled inputs: an iterable of what the model is called with, each item a
            batch; or ``gp.images(...)``; or the path of a file of tensors. A few hundred samples
            let the smaller model keep most of its accuracy.
        samples: how many of them to take.
        score: name of a criterion, or one of your own; by default ``obs`` with calibration data,
            ``l2`` without.
        recover: ``"ls"`` refits the smaller model's layers by least squares, ``"bn"`` only its
            BatchNorm statistics; ``"merge"``, without data, gives what removed channels did to
            kept ones that are alike; ``"none"`` leaves it as it was cut; by default ``ls`` with
            calibration data, ``none`` without.
        distil: train on the calibration data towards the dense model's outputs: a number of
            steps, or a time (``"5m"``).
        augment: changes of inputs for that: ``flip`` and ``crop`` of images, ``mix``.
        checkpoint: a file that lets a killed training go on; the caller removes it.
        allocate: name of an allocator.
        round_to: widths are multiples of this, or stay whole; ``"auto"``: widths that run fast.
        min_channels: no group keeps fewer channels.
        max_cut: no group loses a larger share of its channels.
        protect: patterns of groups or parameters to leave whole.
        strict_ops: refuse operators without a rule.
        allow_inexact: cut through statistics too, such as LayerNorm's, where the smaller model
            doesn't equal the dense one with some parameters zeroed (docs/axis-algebra.md). A
            plan says itself whether it does.
        progress: called with the name of each stage as it starts.

    Returns:
        The smaller model with its plan and report. ``model`` isn't changed.

    Raises:
        LoadError: if the model can't run on the inputs, or holds NaN or Inf, or the calibration
            data isn't what it takes.
        TraceError: if torch.export can't capture it.
        PlanError: if an option can't be meant, or the plan is for another architecture.
        InfeasibleBudgetError: if no plan within the limits meets the budget.
        VerifyError: if the smaller model doesn't compute what it should.
    """
    decider: Allocate | Given
    asked = {"flops": flops, "params": params, "latency": latency, "memory": memory, "size": size}
    if plan is None:
        decider = Allocate(budget=budgets(asked), method=allocate, round_to=round_to,
                           min_channels=min_channels, max_cut=max_cut, protect=tuple(protect))
    elif all(amount is None for amount in asked.values()):
        decider, allow_inexact = Given(plan=plan), plan.allow_inexact
    else:
        raise PlanError("give a budget or a plan, not both")
    start = _start(model, example_inputs, example_kwargs, calibration, samples, progress)
    training = _distil(distil, start, tuple(augment), checkpoint, progress)
    method = _recovery(recover, start)
    first = Analyse(strict_ops=strict_ops, allow_inexact=allow_inexact)
    decided = _decide(start, first, decider, score, method, progress, latency_table)
    done = Pipeline((*_cutting(method), *training), given=tuple(decided.facts)).run(decided, progress)
    named = score if isinstance(score, str) or score is None else type(score).__name__
    settings = {"score": named or _default_score(decided), "recover": method or "none"}
    return _result(model, decided, done, settings, progress)


def _distil(effort: Effort | str | int | None, start: State, augment: tuple[str, ...],
            checkpoint: str | Path | None, progress: Progress | None) -> tuple[Distil, ...]:
    if effort is None:
        return ()
    if Calibration not in start.facts:
        raise PlanError("distillation needs calibration data",
                        hint="--data FOLDER, or compress(..., calibration=inputs)")
    effort = effort if isinstance(effort, Effort) else Effort.parse(effort)
    return (Distil(dense=start.program, data=start[Calibration], effort=effort, augment=augment,
                   checkpoint=Path(checkpoint) if checkpoint else None, progress=progress),)


def compress_within(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] = (),
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
    """Make a classifier as small as it can be while its accuracy drops by at most so much.

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
        GraphpruneError: as ``compress``.
    """
    allowed = parse_drop(max_drop)
    source = val if isinstance(val, Source) else open_source(val)
    start = _start(model, example_inputs, example_kwargs, calibration, samples, progress)
    data = start.get(Calibration)

    def made(budget: float) -> Result:
        return compress(model, example_inputs, flops=budget, example_kwargs=example_kwargs,
                        calibration=data, progress=progress, **options)

    def measure(result: Result) -> tuple[float, float]:
        cost = result.report.after.macs / result.report.before.macs
        return cost, accuracy(result.program, source)

    found = smallest(made, measure, dense=accuracy(start.program, source), max_drop=allowed, tell=tell)
    search = {"max_drop": allowed, "dense": found.dense, "accuracy": found.probe.accuracy,
              "probes": tuple(asdict(probe) for probe in found.probes)}
    return replace(found.made, report=replace(found.made.report, search=search))


def decide(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] = (),
    *,
    allocator: Allocate,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Data | None = None,
    samples: int = 1024,
    score: str | Criterion | None = None,
    strict_ops: bool = False,
    allow_inexact: bool = False,
    latency_table: LatencyTable | ProfileLatency | None = None,
    progress: Progress | None = None,
) -> State:
    """Decide only; nothing is cut. The arguments are those of ``compress``.

    Returns:
        A state with ``Analysis``, ``Scores`` and ``Decision``, whose ``plan`` can be saved.

    Raises:
        LoadError, TraceError, InfeasibleBudgetError: as ``compress``.
    """
    start = _start(model, example_inputs, example_kwargs, calibration, samples, progress)
    first = Analyse(strict_ops=strict_ops, allow_inexact=allow_inexact)
    return _decide(start, first, allocator, score, _recovery(None, start), progress,
                   latency_table)


def sweep(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] = (),
    budgets: Sequence[float] = (),
    *,
    tell: Callable[[Point], object] = lambda _: None,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Data | None = None,
    samples: int = 1024,
    val: Source | str | Path | None = None,
    score: str | Criterion | None = None,
    allocate: str = "dp",
    round_to: int | Literal["auto"] = 1,
    latency_table: LatencyTable | None = None,
    strict_ops: bool = False,
    allow_inexact: bool = False,
    progress: Progress | None = None,
) -> tuple[Point, ...]:
    """What a model loses at each of several budgets of FLOPs.

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
        latency_table: adds predicted latencies.
        strict_ops: as in ``compress``.
        allow_inexact: as in ``compress``.
        progress: as in ``compress``.

    Raises:
        GraphpruneError: as ``compress``, but a budget that no plan meets is a point of its own.
    """
    source = open_source(val) if isinstance(val, str | Path) else val
    start = _start(model, example_inputs, example_kwargs, calibration, samples, progress)
    method = _recovery(None, start)
    first = Analyse(strict_ops=strict_ops, allow_inexact=allow_inexact)
    seen = _scored(start, first, score, progress)
    if latency_table is not None:
        seen = replace(seen, facts={**seen.facts, LatencyTable: latency_table})
    found: list[Point] = []
    for share in budgets:
        if progress is not None:
            progress(f"budget-{share:g}")
        decider = Allocate(budget=Budget.flops(share), method=allocate, round_to=round_to)
        try:
            decision = decider.run(seen)
        except InfeasibleBudgetError:
            found.append(Point(share))
            tell(found[-1])
            continue
        reached = None
        if source is not None:
            decided = replace(seen, facts={**seen.facts, Decision: decision})
            done = Pipeline(_cutting(method), given=tuple(decided.facts)).run(decided)
            reached = accuracy(done.program, source)
        found.append(_point(share, seen, decision, latency_table, reached))
        tell(found[-1])
    return tuple(found)


def _point(share: float, seen: State, decision: Decision, table: LatencyTable | None,
           reached: float | None) -> Point:
    analysis = seen[Analysis]
    widths, costs = [len(group.keep) for group in decision.plan.groups], analysis.costs
    taken = None
    if table is not None:
        taken = 1e3 * Latency(workload(analysis, table.batch), table).at(widths)
    return Point(share, costs.macs.at(widths) / analysis.dense_macs,
                 costs.params.at(widths) / costs.params.at(analysis.widths),
                 decision.allocation.distortion, taken, reached)


def profile(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] = (),
    *,
    how: ProfileLatency | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    allow_inexact: bool = False,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure what onnxruntime takes for the operators of a model, over a grid of widths.

    Args:
        model: as in ``compress``.
        example_inputs: as in ``compress``.
        how: threads, provider, batch and effort.
        example_kwargs: as in ``compress``.
        allow_inexact: as in ``compress``.
        progress: as in ``compress``.

    Raises:
        LoadError, TraceError: as ``compress``.
        ExportError: if the model can't be exported to ONNX.
    """
    start = _start(model, example_inputs, example_kwargs, None, 0, progress)
    measuring = replace(how or ProfileLatency(), progress=progress)
    return Pipeline((Analyse(allow_inexact=allow_inexact), measuring)).run(start, progress)[LatencyTable]


def _start(model: torch.nn.Module | ExportedProgram, args: Sequence[Any],
           kwargs: Mapping[str, Any] | None, calibration: Data | None, samples: int,
           progress: Progress | None) -> State:
    """The dense program and, as a fact, the calibration data."""
    start = time.perf_counter()
    dense = _program(model, args, kwargs, progress)
    traced = time.perf_counter()
    state = State(dense, seconds={"trace": traced - start})
    if calibration is None:
        return state
    if progress is not None:
        progress("data")
    data = calibrate(calibration, dense, samples)
    return replace(state, facts={Calibration: data},
                   seconds={**state.seconds, "data": time.perf_counter() - traced})


def _decide(start: State, first: Analyse, decider: Allocate | Given,
            score: str | Criterion | None, method: Recovery | None,
            progress: Progress | None, table: LatencyTable | ProfileLatency | None = None) -> State:
    seen = _scored(start, first, score, progress)
    passes: list[AnalysisPass] = []
    if isinstance(table, LatencyTable):
        seen = replace(seen, facts={**seen.facts, LatencyTable: table})
    elif isinstance(decider, Allocate) and decider.needs_table:
        passes.append(replace(table or ProfileLatency(), progress=progress))
    if method == "ls" and isinstance(decider, Allocate):
        passes.append(Choose(decider, progress))
    else:
        passes.append(decider)
    return Pipeline(passes, given=tuple(seen.facts)).run(seen, progress)


def _scored(start: State, first: Analyse, score: str | Criterion | None,
            progress: Progress | None) -> State:
    """The state after everything that needs no budget."""
    data = start.get(Calibration)
    passes: list[AnalysisPass] = [first]
    if data is not None:
        passes.append(Observe(data))
    passes.append(Score(_criterion(score or _default_score(start))))
    return Pipeline(passes).run(start, progress)


Recovery = Literal["ls", "bn", "merge"]


def _cutting(method: Recovery | None) -> tuple[TransformPass, ...]:
    match method:
        case None:
            return (Prune(),)
        case "merge":
            return (Merge(),)
        case "ls" | "bn":
            return Prune(), Recover(method)


def _recovery(name: str | None, start: State) -> Recovery | None:
    """How to recover: by default by least squares, if there is calibration data."""
    if name is None:
        return "ls" if start.get(Calibration) else None
    if name == "none":
        return None
    if name not in get_args(Recovery):
        raise PlanError(f"no way to recover {name!r}", hint="one of ls, bn, merge, none")
    if name == "merge":
        return "merge"
    if start.get(Calibration) is None:
        raise PlanError(f"recover {name} needs calibration data",
                        hint="--data FOLDER, or compress(..., calibration=inputs)")
    return "ls" if name == "ls" else "bn"


def apply(plan: Plan, model: torch.nn.Module, example_inputs: Sequence[Any],
          example_kwargs: Mapping[str, Any] | None = None) -> torch.nn.Module:
    """Apply a plan to another checkpoint of the architecture it was made for.

    Returns:
        The smaller model, as ``Result.model``.

    Raises:
        MismatchError: if the model is of another architecture.
        VerifyError: if the smaller model doesn't compute what it should.
    """
    dense = trace(model, example_inputs, example_kwargs)
    analysis = analyse(dense, allow_inexact=plan.allow_inexact)
    small = cut(dense, analysis, plan)
    kept = analysis.kept(plan.keep)
    verify(dense, analysis, kept, small)
    return rebuild(model, analysis, kept, small).model


def inspect(model: torch.nn.Module | ExportedProgram, example_inputs: Sequence[Any] = (),
            example_kwargs: Mapping[str, Any] | None = None, *, strict_ops: bool = False,
            allow_inexact: bool = False, progress: Progress | None = None) -> Analysis:
    """The analysis of a model: groups, symbolic costs, what is frozen.

    With ``allow_inexact``, statistics such as LayerNorm's don't freeze.

    Raises:
        UnsupportedOpError: under ``strict_ops``, if an operator has no rule.
    """
    program = _program(model, example_inputs, example_kwargs, progress)
    first = Analyse(strict_ops=strict_ops, allow_inexact=allow_inexact)
    return Pipeline((first,)).run(program, progress)[Analysis]


def load(path: str | Path) -> torch.nn.Module:
    """A trainable module from an output folder, or from a ``.pt2`` or ``.onnx`` file. No user code.

    Raises:
        LoadError: if there is none, or it can't be read.
    """
    path = Path(path)
    found = load_file(path / PROGRAM if path.is_dir() else path)
    assert found.program is not None
    return trainable_graph(found.program)


def _default_score(state: State) -> str:
    return "l2" if state.get(Calibration) is None else "obs"


def _criterion(score: str | Criterion) -> Criterion:
    if not isinstance(score, str):
        return score
    if score not in CRITERIA:
        raise PlanError(f"no criterion {score!r}", hint=f"one of {', '.join(CRITERIA)}")
    return CRITERIA[score]


def _program(model: torch.nn.Module | ExportedProgram, args: Sequence[Any],
             kwargs: Mapping[str, Any] | None, progress: Progress | None) -> ExportedProgram:
    check_finite(model.named_parameters(), model.named_buffers(), type(model).__name__)
    if isinstance(model, ExportedProgram):
        return model
    if progress is not None:
        progress("trace")
    return trace(model, args, kwargs)


def _result(model: torch.nn.Module | ExportedProgram, decided: State, done: State,
            settings: Mapping[str, str], progress: Progress | None) -> Result:
    if progress is not None:
        progress("rebuild")
    start = time.perf_counter()
    analysis, decision = decided[Analysis], done[Decision]
    eager = model if isinstance(model, torch.nn.Module) else None
    rebuilt = rebuild(eager, analysis, analysis.kept(decision.plan.keep), done.program)
    seconds = {**done.seconds, "rebuild": time.perf_counter() - start}
    report = summarise(type(model).__name__, decided, done, rebuilt, seconds, settings)
    return Result(rebuilt.model, decision.plan, report, done.program, decided.program)
