"""Options of a compression: what they mean for a model, and the passes that they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from graphprune.data import Source
from graphprune.data.calibration import Calibration
from graphprune.data.classes import class_count
from graphprune.errors import OptionError
from graphprune.ir.program import user_inputs
from graphprune.passes import (
    CRITERIA,
    Allocate,
    Distil,
    Effort,
    Finetune,
    Merge,
    Prune,
    Recover,
    Settle,
    check_names,
)
from graphprune.passes.allocate.rounding import Rounding
from graphprune.passes.latency import ProfileLatency
from graphprune.passes.score.obd import OptimalBrainSurgeon
from graphprune.pipeline import State, TransformPass
from graphprune.plan.budget import Budget
from graphprune.plan.latency_table import LatencyTable

if TYPE_CHECKING:
    from graphprune.passes import Criterion

__all__ = ["Options", "several"]

Recovery = Literal["ls", "bn", "merge"]

_NEEDS_DATA = "give inputs of the model; a few hundred unlabelled ones suffice"


@dataclass(frozen=True)
class Options:
    """How to compress, whatever the budget.

    The fields are arguments of ``graphprune.compress``, but for ``redundant``: the channels that a given plan
    removes with no loss.
    """

    latency_table: LatencyTable | ProfileLatency | None = None
    score: str | Criterion | None = None
    recover: str | None = None
    distil: Effort | str | int | None = None
    finetune: int | None = None
    train: Source | str | Path | None = None
    augment: Sequence[str] = ()
    checkpoint: str | Path | None = None
    allocate: str = "dp"
    round_to: Rounding = "fast"
    min_channels: int = 1
    max_cut: float | None = None
    protect: Sequence[str] = ()
    keep_class: bool = False
    any_width: bool = False
    uniform: Sequence[str | Sequence[str]] = ()
    keep_config: bool = False
    strict_ops: bool = False
    allow_inexact: bool = False
    lossless: bool = False
    redundant: Mapping[str, tuple[int, ...]] | None = None
    depth: bool = False
    outputs: Sequence[str] = ()
    device: str | torch.device | None = None

    def check(self, state: State) -> None:
        """Refuse invalid options before any work.

        Args:
            state: the dense program, with its calibration data if there is any.

        Raises:
            OptionError: if an option is invalid or doesn't fit the model.
        """
        self.criterion(state)
        self.recovery(state)
        if self.keep_class and self.any_width:
            raise OptionError(
                "keep_class and any_width contradict each other",
                options=("keep_class", "any_width"),
            )
        if self.distil is not None:
            self._effort(state)
            check_names(several(self.augment), user_inputs(state.program))
        self._check_finetune(state)

    def _check_finetune(self, state: State) -> None:
        if (self.finetune is None) != (self.train is None):
            raise OptionError(
                "to finetune takes a number of epochs and labelled inputs to train on",
                options=("finetune", "train"),
            )
        if self.finetune is None:
            return
        if self.distil is not None:
            raise OptionError(
                "to finetune is to distil too, with labels; choose one",
                options=("finetune", "distil"),
            )
        class_count(state.program)
        check_names(several(self.augment), user_inputs(state.program))
        self._finetune(batch_training=True)

    def _finetune(self, *, batch_training: bool) -> Finetune:
        return Finetune(
            epochs=self.finetune or 0,
            augment=several(self.augment),
            checkpoint=Path(self.checkpoint) if self.checkpoint else None,
            batch_training=batch_training,
        )

    def allocator(self, *budgets: Budget) -> Allocate:
        """Make the pass that chooses the widths."""
        return Allocate(
            budget=budgets,
            method=self.allocate,
            round_to=self.round_to,
            min_channels=self.min_channels,
            max_cut=self.max_cut,
            protect=several(self.protect),
            keep_class=self.keep_class,
            keep_config=self.keep_config,
            depth=self.depth,
            uniform=tuple(map(several, several(self.uniform))),
        )

    def score_name(self, state: State) -> str:
        """Return the criterion's name: by default ``obs`` with calibration data, ``l2`` without."""
        if self.score is None:
            return "l2" if state.get(Calibration) is None else "obs"
        return self.score if isinstance(self.score, str) else type(self.score).__name__

    def criterion(self, state: State) -> Criterion:
        """Return the criterion that scores the channels."""
        if self.score is not None and not isinstance(self.score, str):
            return self.score
        name = self.score_name(state)
        if name not in CRITERIA:
            raise OptionError(
                f"no criterion {name!r}", hint=f"one of {', '.join(CRITERIA)}", options=("score",)
            )
        found = CRITERIA[name]
        if found.needs_data and state.get(Calibration) is None:
            raise OptionError(
                f"score {name} needs calibration data",
                hint=_NEEDS_DATA,
                options=("score", "calibration"),
            )
        if isinstance(found, OptimalBrainSurgeon):
            return replace(found, depth=self.depth)
        return found

    def cutting(self, state: State) -> tuple[TransformPass, ...]:
        """List the passes that cut and recover.

        Training is judged on data that no fit has used.
        """
        method = self.recovery(state)
        trained = self.distil is not None or self.finetune is not None
        batch_training = method not in {"ls", "bn"}  # a repair leaves right statistics behind
        match method:
            case None:
                cutting: tuple[TransformPass, ...] = (Prune(),)
            case "merge":
                cutting = (Merge(),)
            case "ls" | "bn":
                cutting = Prune(), Recover(method, everything=not trained)
        settling = (Settle(),) if method == "ls" else ()
        if self.finetune is not None:
            return *cutting, self._finetune(batch_training=batch_training), *settling
        if self.distil is None:
            return cutting
        training = Distil(
            effort=self._effort(state),
            augment=several(self.augment),
            checkpoint=Path(self.checkpoint) if self.checkpoint else None,
            batch_training=batch_training,
        )
        return *cutting, training, *settling

    def recovery(self, state: State) -> Recovery | None:
        """Return how to recover: by default by least squares, if there is calibration data."""
        name, known = self.recover, state.get(Calibration) is not None
        if name is None:
            return "ls" if known else None
        if name == "none":
            return None
        if name not in get_args(Recovery):
            raise OptionError(
                f"no way to recover {name!r}",
                hint="one of ls, bn, merge, none",
                options=("recover",),
            )
        if name == "merge":
            if self.depth:
                raise OptionError(
                    "merging gives what removed channels did to others of their group, so none can go whole",
                    hint="leave out depth, or recover otherwise",
                    options=("depth", "recover"),
                )
            return "merge"
        if not known:
            raise OptionError(
                f"recover {name} needs calibration data",
                hint=_NEEDS_DATA,
                options=("calibration",),
            )
        return "ls" if name == "ls" else "bn"

    def _effort(self, state: State) -> Effort:
        if state.get(Calibration) is None:
            raise OptionError(
                "distillation needs calibration data", hint=_NEEDS_DATA, options=("calibration",)
            )
        assert self.distil is not None
        return self.distil if isinstance(self.distil, Effort) else Effort.parse(self.distil)


def several(patterns: str | Sequence[Any]) -> tuple[Any, ...]:
    """Return patterns or names as a tuple; a single one may be given alone."""
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)
