"""Job: a model that is traced and scored once and compressed to any number of budgets.

The only place that puts the stages together:

load -> trace -> analyse -> score -> allocate -> cut -> verify -> fold -> export -> report
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.data import Source, calibrate
from graphprune.data.calibration import Calibration
from graphprune.errors import PlanError
from graphprune.ir.trace import trace
from graphprune.loading.load import check_finite
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
from graphprune.passes.allocate.given_plan import Given
from graphprune.passes.latency import ProfileLatency
from graphprune.pipeline import AnalysisPass, Pipeline, State, TransformPass
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable
from graphprune.rebuild.class_constraints import Followed, followed
from graphprune.rebuild.rebuild import rebuild

from .build_report import summarise
from .result import Result

if TYPE_CHECKING:
    from graphprune.passes import Criterion

__all__ = ["Data", "Job", "Options", "Progress", "program_of"]

Progress = Callable[[str], Any]

Data = Calibration | Source | Iterable[Any]
"""Calibration data: see ``graphprune.compress``."""

Recovery = Literal["ls", "bn", "merge"]


@dataclass(frozen=True)
class Options:
    """How to compress, whatever the budget. The fields are arguments of ``graphprune.compress``."""

    latency_table: LatencyTable | ProfileLatency | None = None
    score: str | Criterion | None = None
    recover: str | None = None
    distil: Effort | str | int | None = None
    augment: Sequence[str] = ()
    checkpoint: str | Path | None = None
    allocate: str = "dp"
    round_to: int | Literal["auto"] = 1
    min_channels: int = 1
    max_cut: float = 1.0
    protect: Sequence[str] = ()
    keep_class: bool = False
    strict_ops: bool = False
    allow_inexact: bool = False

    def allocator(self, *budgets: Budget) -> Allocate:
        """What decides on the widths."""
        return Allocate(
            budget=budgets,
            method=self.allocate,
            round_to=self.round_to,
            min_channels=self.min_channels,
            max_cut=self.max_cut,
            protect=tuple(self.protect),
            keep_class=self.keep_class,
        )


@dataclass(frozen=True)
class Job:
    """A model that is traced and scored, ready for any budget.

    Attributes:
        model: what the user brought.
        options: how to compress it.
        seen: the dense program, with all facts that need no budget.
        recovery: how the cut model is recovered.
        training: the training after that, or nothing.
        progress: called with the name of each stage as it starts.
    """

    model: torch.nn.Module | ExportedProgram
    options: Options
    seen: State
    recovery: Recovery | None
    training: tuple[Distil, ...] = ()
    progress: Progress | None = None

    @classmethod
    def begin(
        cls,
        model: torch.nn.Module | ExportedProgram,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        calibration: Data | None,
        samples: int,
        options: Options,
        progress: Progress | None,
    ) -> Job:
        """Trace, read the data, analyse and score. Arguments: those of ``graphprune.compress``.

        Raises:
            LoadError: if the model can't run on the inputs, or holds NaN or Inf, or the data isn't
                what it takes.
            TraceError: if torch.export can't capture it.
            PlanError: if an option can't be meant.
        """
        begun = _start(model, args, kwargs, calibration, samples, progress)
        recovery = _recovery(options.recover, begun)
        training = _training(options, begun, recovery, progress)
        data = begun.get(Calibration)
        passes: list[AnalysisPass] = [
            Analyse(strict_ops=options.strict_ops, allow_inexact=options.allow_inexact)
        ]
        if data is not None:
            passes.append(Observe(data, progress=progress))
        passes.append(Score(_criterion(options.score or _default_score(begun))))
        seen = Pipeline(passes).run(begun, progress)
        if isinstance(options.latency_table, LatencyTable):
            seen = seen.knowing(options.latency_table)
        return cls(model, options, seen, recovery, training, progress)

    def decide(self, decider: Allocate | Given) -> State:
        """The state with a decision.

        Raises:
            InfeasibleBudgetError: if no plan meets the budgets.
        """
        if isinstance(decider, Allocate):
            decider = self.following(decider)
        passes: list[AnalysisPass] = []
        table = self.options.latency_table
        if (
            isinstance(decider, Allocate)
            and decider.needs_table
            and not isinstance(table, LatencyTable)
        ):
            passes.append(replace(table or ProfileLatency(), progress=self.progress))
        if self.recovery == "ls" and isinstance(decider, Allocate):
            passes.append(Choose(decider))
        else:
            passes.append(decider)
        return Pipeline(passes, given=tuple(self.seen.facts)).run(self.seen, self.progress)

    def following(self, decider: Allocate) -> Allocate:
        """What decides on the widths, with the groups that the model's class can't follow, if it is to be kept."""
        if not decider.keep_class or self._followed is None:
            return decider
        return replace(decider, firsts=self._followed.firsts, whole=self._followed.whole)

    @cached_property
    def _followed(self) -> Followed | None:
        """What the code of the model's class can follow, if it has one."""
        if not isinstance(self.model, torch.nn.Module):
            return None
        if self.progress is not None:
            self.progress("class")
        return followed(self.model, self.seen.program, self.seen[Analysis], self.progress)

    def cut(self, decided: State) -> State:
        """The smaller program, verified and recovered."""
        passes = (*_cutting(self.recovery, training=bool(self.training)), *self.training)
        return Pipeline(passes, given=tuple(decided.facts)).run(decided, self.progress)

    def result(self, decider: Allocate | Given) -> Result:
        """The smaller model and the report on it."""
        decided = self.decide(decider)
        done = self.cut(decided)
        if self.progress is not None:
            self.progress("rebuild")
        begun = time.perf_counter()
        analysis, decision = decided[Analysis], done[Decision]
        eager = self.model if isinstance(self.model, torch.nn.Module) else None
        rebuilt = rebuild(eager, analysis, analysis.kept(decision.plan.keep), done.program)
        if (
            eager is not None
            and not rebuilt.own_class
            and isinstance(decider, Allocate)
            and not decider.keep_class
        ):
            rebuilt = replace(
                rebuilt,
                reason=f"{rebuilt.reason}; --keep-class chooses widths that its code follows",
            )
        seconds = {**done.seconds, "rebuild": time.perf_counter() - begun}
        score = self.options.score or _default_score(decided)
        named = score if isinstance(score, str) else type(score).__name__
        settings = {"score": named, "recover": self.recovery or "none"}
        report = summarise(type(self.model).__name__, decided, done, rebuilt, seconds, settings)
        if isinstance(decider, Allocate) and (whole := self.following(decider).whole):
            note = f"left whole, as the code of the model's class can't follow: {', '.join(sorted(whole))}"
            report = replace(report, notes=(*report.notes, note))
        return Result(rebuilt.model, decision.plan, report, done.program, decided.program)


def _start(
    model: torch.nn.Module | ExportedProgram,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    calibration: Data | None,
    samples: int,
    progress: Progress | None,
) -> State:
    """The dense program and, as a fact, the calibration data."""
    begun = time.perf_counter()
    dense = program_of(model, args, kwargs, progress)
    traced = time.perf_counter()
    state = State(dense, seconds={"trace": traced - begun})
    if calibration is None:
        return state
    if progress is not None:
        progress("data")
    data = calibrate(calibration, dense, samples)
    return replace(
        state,
        facts={Calibration: data},
        seconds={**state.seconds, "data": time.perf_counter() - traced},
    )


def program_of(
    model: torch.nn.Module | ExportedProgram,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    progress: Progress | None,
) -> ExportedProgram:
    """The model as a program; of finite numbers only. Errors: as ``Job.begin``."""
    check_finite(model.named_parameters(), model.named_buffers(), type(model).__name__)
    if isinstance(model, ExportedProgram):
        return model
    if progress is not None:
        progress("trace")
    return trace(model, args, kwargs)


def _training(
    options: Options, begun: State, recovery: Recovery | None, progress: Progress | None
) -> tuple[Distil, ...]:
    """Training, if it was asked for. After a repair, BatchNorm's stored statistics are right."""
    effort = options.distil
    if effort is None:
        return ()
    if Calibration not in begun.facts:
        raise PlanError(
            "distillation needs calibration data",
            hint="--data FOLDER, or compress(..., calibration=inputs)",
        )
    effort = effort if isinstance(effort, Effort) else Effort.parse(effort)
    checkpoint = Path(options.checkpoint) if options.checkpoint else None
    return (
        Distil(
            dense=begun.program,
            data=begun[Calibration],
            effort=effort,
            augment=tuple(options.augment),
            checkpoint=checkpoint,
            progress=progress,
            batch_training=recovery not in {"ls", "bn"},
        ),
    )


def _cutting(method: Recovery | None, *, training: bool) -> tuple[TransformPass, ...]:
    """The passes that cut and recover. Training is judged on data that no fit has seen."""
    match method:
        case None:
            return (Prune(),)
        case "merge":
            return (Merge(),)
        case "ls" | "bn":
            return Prune(), Recover(method, everything=not training)


def _recovery(name: str | None, begun: State) -> Recovery | None:
    """How to recover: by default by least squares, if there is calibration data."""
    if name is None:
        return "ls" if begun.get(Calibration) else None
    if name == "none":
        return None
    if name not in get_args(Recovery):
        raise PlanError(f"no way to recover {name!r}", hint="one of ls, bn, merge, none")
    if name == "merge":
        return "merge"
    if begun.get(Calibration) is None:
        raise PlanError(
            f"recover {name} needs calibration data",
            hint="--data FOLDER, or compress(..., calibration=inputs)",
        )
    return "ls" if name == "ls" else "bn"


def _default_score(state: State) -> str:
    return "l2" if state.get(Calibration) is None else "obs"


def _criterion(score: str | Criterion) -> Criterion:
    if not isinstance(score, str):
        return score
    if score not in CRITERIA:
        raise PlanError(f"no criterion {score!r}", hint=f"one of {', '.join(CRITERIA)}")
    return CRITERIA[score]
