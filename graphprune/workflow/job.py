"""Take a model from a module to a smaller one, stage by stage.

    load -> trace -> (lossless) -> analyse -> score -> allocate -> cut -> verify -> recover -> fold -> export -> report

``Job.begin`` traces, reads the data (``start.py``), analyses and scores, for which no budget is needed; ``decide``
allocates (``decider.py``), ``cut`` removes the channels, verifies and recovers, ``result`` rebuilds the user's class
and reports. Any number of budgets can be tried on one job. Loading comes before (``loading/``), folding and export come
after, when a file is wanted (``result.py``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.data import prepared
from graphprune.data.calibration import Calibration
from graphprune.data.labelled import Labelled
from graphprune.errors import InfeasibleBudgetError, OptionError
from graphprune.ir.check_given import given_on_cpu, positional
from graphprune.ir.devices import CPU, find_device
from graphprune.ir.unwrap import unwrap, wrappers
from graphprune.loading.image_preparation import brought_by
from graphprune.passes import (
    Allocate,
    Analyse,
    Decision,
    Observe,
    Prune,
    Redundant,
    Score,
    Scores,
    Teacher,
)
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.passes.lossless.lossless import verify_lossless
from graphprune.passes.lossless.redundant import first_to_go, marked, only_redundant
from graphprune.pipeline import AnalysisPass, Pipeline, Progress, State
from graphprune.plan.latency_table import LatencyTable
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.rebuild.config_fields import ConfigFields, config_fields
from graphprune.rebuild.rebuild import Rebuilt, rebuild
from graphprune.verify.oracle import Verdict

from .build_report import build_report
from .class_widths import any_widths_instead, class_widths, noting_price
from .decider import Decider, deciding_passes
from .free_channels import free_channels
from .kept_outputs import KeptOutputs, with_outputs
from .options import Options, several
from .pair_models import pair_models
from .result import Result
from .start import Data, traced, traced_on_cpu, with_data, with_labelled

__all__ = ["Job"]

_COMPUTED_TOO = "the code of the model's class computes the outputs that are left out, too"


@dataclass(frozen=True)
class Job:
    """A model that is analysed and scored, on which budgets can be tried.

    Attributes:
        given: what the user brought.
        model: the same without what wraps it for training, on the CPU.
        options: how to compress it.
        scored: the dense program, with all facts that need no budget.
        home: the device that the model came from, to which the smaller one goes.
        device: where the network runs on data.
    """

    given: torch.nn.Module | ExportedProgram
    model: torch.nn.Module | ExportedProgram
    options: Options
    scored: State
    home: torch.device = CPU
    device: torch.device = CPU

    @classmethod
    def begin(
        cls,
        model: torch.nn.Module | ExportedProgram,
        args: Sequence[Any] | torch.Tensor,
        kwargs: Mapping[str, Any] | None,
        calibration: Data | None,
        samples: int,
        options: Options,
        progress: Progress | None,
        *,
        live: bool = False,
    ) -> Job:
        """Trace, read the data, analyse and score. Arguments: those of ``graphprune.compress``.

        With ``live``, the program has the very parameters of the model, wherever they are; otherwise a model that
        is on another device than the CPU is copied there first.

        Raises:
            LoadError: if the model can't run on the inputs, or holds NaN or Inf, or the data isn't
                what it takes.
            TraceError: if torch.export can't capture it.
            OptionError: if an option, the model or the inputs aren't what they may be.
        """
        asked = None if options.device is None else find_device(options.device)
        home, here, own_args, own_kwargs = given_on_cpu(model, args, kwargs)
        if live:
            state = traced(unwrap(model), positional(args), kwargs, progress)
        else:
            state = traced_on_cpu(here, own_args, own_kwargs, progress, home)
        if options.outputs:
            state = with_outputs(state, several(options.outputs))
        says, device = brought_by(here), asked or home
        if options.train is not None:
            state = with_labelled(state, prepared(options.train, says), device)
            if calibration is None:
                calibration = state[Labelled].inputs(samples)
        if calibration is not None:
            tell = asked is not None or device != CPU
            state = with_data(state, prepared(calibration, says), samples, device, tell=tell)
        if isinstance(options.latency_table, LatencyTable):
            state = state.knowing(options.latency_table)
        options.check(state)
        scored = _scored(state, options)
        return cls(model, here, options, scored, CPU if live else home, device)

    def decide(self, decider: Decider) -> State:
        """Choose the widths, or take those of a plan: the state with a decision.

        Unless asked for any widths, it chooses those that the code of the model's class can run with, where they
        meet the budgets; a note says what that costs.

        Raises:
            InfeasibleBudgetError: if no plan meets the budgets.
            OptionError: if the class has to be kept and can't be.
        """
        state = self.scored
        if not isinstance(decider, GivenPlan) and decider.keep_config:
            state = state.knowing(self._config)
        must = not isinstance(decider, GivenPlan) and decider.keep_class
        wants = isinstance(decider, Allocate) and not self.options.any_width
        follows = self._constraints if must or wants else None
        if isinstance(follows, OptionError) and must:
            raise follows
        if not isinstance(follows, ClassConstraints):
            return self._decided(decider, state)
        try:
            decided = self._decided(decider, state.knowing(follows))
        except InfeasibleBudgetError:
            if must:
                raise
            return any_widths_instead(self._decided(decider, state))
        if must or not isinstance(decider, Allocate):
            return decided
        return noting_price(decider, state, decided)

    def _decided(self, decider: Decider, state: State) -> State:
        passes = deciding_passes(self.options, decider, state)
        decided = Pipeline(passes, given=tuple(state.facts)).run(state)
        found = decided.get(Redundant)
        return decided if found is None else decided.knowing(marked(decided[Decision], found))

    @cached_property
    def _constraints(self) -> ClassConstraints | OptionError | None:
        """The widths that the code of the model's class can run with."""
        if KeptOutputs in self.scored.facts:
            return OptionError(_COMPUTED_TOO, options=("outputs", "keep_class"))
        return class_widths(self.model, self.scored, depth=self.options.depth)

    @cached_property
    def _config(self) -> ConfigFields:
        """Find the widths that the model's config can state."""
        self.scored.tell("config")
        if KeptOutputs in self.scored.facts:
            raise OptionError(_COMPUTED_TOO, options=("outputs", "keep_config"))
        scored = self.scored
        return config_fields(self.model, scored.program, scored[Analysis], scored.progress)

    def cut(self, decided: State) -> State:
        """Remove the channels, verify, recover: the state with the smaller program."""
        passes = self.options.cutting(decided)
        decided = decided.knowing(Teacher(decided.program))
        done = Pipeline(passes, given=tuple(decided.facts)).run(decided)
        found = done.get(Redundant)
        recovers = [each.name for each in passes] != [Prune.name]
        if found is None or recovers or not only_redundant(done[Decision], found):
            return done
        done.tell("lossless proof")
        return done.knowing(verify_lossless(done[Cut], done.program, found))

    def result(self, decider: Decider) -> Result:
        """Decide, cut, rebuild the user's class, and report."""
        decided = self.decide(decider)
        done = self.cut(decided)
        rebuilt, seconds = self._rebuilt(done)
        pair = pair_models(self.given, self.model, rebuilt, done[Cut], done, self.home)
        report = build_report(
            self.model,
            decided,
            done,
            rebuilt,
            wrappers=wrappers(self.given),
            seconds={**done.seconds, "rebuild": seconds},
            settings={
                "score": self.options.score_name(self.scored),
                "recover": self.options.recovery(self.scored) or "none",
            },
        )
        plan = done[Decision].plan
        config = done.get(ConfigFields)
        return Result(pair.small, plan, report, done.program, pair=pair, config=config)

    def _rebuilt(self, done: State) -> tuple[Rebuilt, float]:
        """Rebuild the smaller model, as the user's class where its code follows, and time it."""
        done.tell("rebuild")
        start = time.perf_counter()
        whole = KeptOutputs not in done.facts
        eager = self.model if isinstance(self.model, torch.nn.Module) and whole else None
        rebuilt = rebuild(eager, done[Cut], done.program, done[Verdict].runs)
        if eager is not None and not rebuilt.own_class and self.options.any_width:
            more = "without any_width, widths are chosen that its code follows"
            rebuilt = replace(rebuilt, reason=f"{rebuilt.reason}; {more}")
        if not whole:
            rebuilt = replace(rebuilt, reason=_COMPUTED_TOO)
        return rebuilt, time.perf_counter() - start


def _scored(state: State, options: Options) -> State:
    """Remove what is redundant, if asked to, then analyse and score: the state with all that needs no budget."""
    if options.lossless:
        state = free_channels(
            state,
            options.redundant,
            strict_ops=options.strict_ops,
            allow_inexact=options.allow_inexact,
        )
    passes: list[AnalysisPass] = [
        Analyse(strict_ops=options.strict_ops, allow_inexact=options.allow_inexact)
    ]
    criterion = options.criterion(state)
    if Calibration in state.facts:
        passes.append(Observe(scoring=criterion.needs_data))
    passes.append(Score(criterion))
    scored = Pipeline(passes, given=tuple(state.facts)).run(state)
    found = scored.get(Redundant)
    return scored if found is None else scored.knowing(first_to_go(scored[Scores], found))
