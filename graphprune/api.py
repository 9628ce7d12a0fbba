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
from graphprune.budget import Budget
from graphprune.calibration import Calibration
from graphprune.cut import cut
from graphprune.data import Source, accuracy, calibrate, open_source
from graphprune.eager import rebuild, trainable_graph
from graphprune.errors import PlanError
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
from graphprune.pipeline import AnalysisPass, Pipeline, State, TransformPass
from graphprune.plan import Plan
from graphprune.result import Result
from graphprune.search import Probe, parse_drop, smallest
from graphprune.summary import summarise
from graphprune.tracing import trace
from graphprune.verify import verify

if TYPE_CHECKING:
    from graphprune.passes import Criterion

__all__ = ["apply", "compress", "compress_within", "decide", "inspect", "load"]

Progress = Callable[[str], Any]

Data = Calibration | Source | Iterable[Any]
"""Calibration data: see ``compress``."""


def compress(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] = (),
    *,
    flops: float | str | None = None,
    params: float | str | None = None,
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
    round_to: int = 1,
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
        params: the same for parameters. Give exactly one budget, or a plan.
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
        round_to: widths are multiples of this, or stay whole.
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
    if plan is None:
        decider = Allocate(budget=_budget(flops, params), method=allocate, round_to=round_to,
                           min_channels=min_channels, max_cut=max_cut, protect=tuple(protect))
    elif flops is None and params is None:
        decider, allow_inexact = Given(plan=plan), plan.allow_inexact
    else:
        raise PlanError("give a budget or a plan, not both")
    start = _start(model, example_inputs, example_kwargs, calibration, samples, progress)
    training = _distil(distil, start, tuple(augment), checkpoint, progress)
    method = _recovery(recover, start)
    first = Analyse(strict_ops=strict_ops, allow_inexact=allow_inexact)
    decided = _decide(start, first, decider, score, method, progress)
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
    return _decide(start, first, allocator, score, _recovery(None, start), progress)


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
            progress: Progress | None) -> State:
    data = start.get(Calibration)
    passes: list[AnalysisPass] = [first]
    if data is not None:
        passes.append(Observe(data))
    passes.append(Score(_criterion(score or _default_score(start))))
    if method == "ls" and isinstance(decider, Allocate):
        passes.append(Choose(decider, progress))
    else:
        passes.append(decider)
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


def _budget(flops: float | str | None, params: float | str | None) -> Budget:
    if (flops is None) == (params is None):
        raise PlanError("give exactly one budget", hint="flops=0.5 or params=0.5")
    return Budget.flops(flops) if flops is not None else Budget.params(params or 0)


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
