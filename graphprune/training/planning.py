"""What plans are made from, again and again, for a model that may have shrunk since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from graphprune.passes.decision import BudgetStatus
from graphprune.pipeline import Progress
from graphprune.plan.budget import Budget
from graphprune.plan.plan import Plan
from graphprune.workflow.job import Data
from graphprune.workflow.options import Options

from .planner import Planner

__all__ = ["Planning"]


@dataclass(frozen=True, eq=False)
class Planning:
    """The model that is trained, and how it is to be planned for.

    Attributes:
        model: as the user gave it.
        args: example inputs.
        kwargs: example keyword inputs.
        calibration: inputs for criteria that need some.
        samples: how many of them to take.
        options: how to plan.
        progress: told how far a plan is.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] | None
    calibration: Data | None
    samples: int
    options: Options
    progress: Progress | None

    def planner(
        self, bounds: Sequence[Budget], plan: Plan | None = None, asked: Sequence[BudgetStatus] = ()
    ) -> Planner:
        """Analyse the model as it is now. Arguments: as ``Planner``."""
        return Planner(
            self.model,
            self.args,
            self.kwargs,
            calibration=self.calibration,
            samples=self.samples,
            options=self.options,
            budgets=tuple(bounds),
            plan=plan,
            progress=self.progress,
            asked=asked,
        )
