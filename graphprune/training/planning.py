"""What plans are made from, again and again, for a model that may have shrunk since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from graphprune.pipeline import Progress
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options
from graphprune.workflow.start import Data

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

    def begin(self) -> Job:
        """Analyse and score the model as it is now. Errors: as ``Job.begin``."""
        return Job.begin(
            self.model,
            self.args,
            self.kwargs,
            self.calibration,
            self.samples,
            self.options,
            self.progress,
            live=True,
        )
