"""The training loop of distillation: seeded, keeps the best weights, resumes after a kill."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.io.files import write_checkpoint
from graphprune.ir.devices import forked_random
from graphprune.loading import read_checkpoint

from .effort import Effort
from .objective import Objective

__all__ = ["BestWeights", "Loop"]

logger = logging.getLogger(__name__)

EVALUATIONS = 10
"""Evaluations of the held-out error in a run; at each a checkpoint is written."""

DIVERGED = 2.0
"""Ratio of the held-out error at the first evaluation to that at the start, from which on weights by depth are
given up and training starts again without them. What was tried: ``docs/experiments.md``."""

HALFWAY, SLOWER = 0.5, 1 / 3
"""Share of the effort after which training that has found nothing better than the start goes back to it, and the factor by which
its rates are smaller from there. What was tried: ``docs/experiments.md``."""

_WARM_UP = 0.05
"""Share of the effort during which the learning rate rises."""


@dataclass
class BestWeights:
    """Best weights so far and the progress of training, which a checkpoint keeps.

    Attributes:
        step: steps done.
        seconds: seconds spent.
        first_error: held-out error before the first step.
        best_error: lowest held-out error so far.
        evaluated: share of the effort at the last evaluation.
        weights: state dict of the student with the lowest error.
        alike: whether weights by depth were given up, and all values inside count alike.
        slowed: whether the rates were made smaller.
    """

    step: int = 0
    seconds: float = 0.0
    first_error: float = math.inf
    best_error: float = math.inf
    evaluated: float = 0.0
    weights: dict[str, Tensor] = field(default_factory=dict)
    alike: bool = False
    slowed: bool = False


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Training loop, with everything that stays the same while the student is trained.

    Attributes:
        name: what progress messages call it.
        objective: what is minimised. Training starts with values inside weighted by their depth; if the held-out error
            diverges (``DIVERGED``), it starts again with equal weights, in what is left of the effort. If it finds nothing
            better until ``HALFWAY``, it starts again with smaller rates.
        optimizers: optimisers of the student; their learning rates are the highest of the schedule.
        effort: how long.
        batch_training: whether the student is in training mode in a step.
        seed: of dropout.
        device: where both networks and their inputs are.
        checkpoint: file to write checkpoints to; ``None``: no checkpoints.
        identity: hash of the run; a checkpoint of another run is not resumed.
        progress: called with how far training is.
    """

    name: str
    objective: Objective
    optimizers: Sequence[torch.optim.Optimizer]
    effort: Effort
    batch_training: bool
    seed: int
    device: torch.device
    checkpoint: Path | None
    identity: str
    progress: Callable[[str], Any] | None

    def run(self, first_error: float, begun: float) -> BestWeights:
        """Train until the effort is spent; the student ends with the best weights.

        Args:
            first_error: held-out error of the student as it is.
            begun: when the work began, by ``time.perf_counter``.
        """
        for group in self._groups():
            group["initial_lr"] = group["lr"]
        so_far = self._resumed()
        if so_far is None:
            so_far = BestWeights(first_error=first_error)
            self._judge(so_far, first_error)
            so_far.seconds = time.perf_counter() - begun
            self._report(so_far, first_error)
        with forked_random(self.device):
            while (share := self._share(so_far)) < 1:
                start = time.perf_counter()
                self._step(so_far, share)
                so_far.step += 1
                so_far.seconds += time.perf_counter() - start
                share = self._share(so_far)
                if share >= 1 or share - so_far.evaluated >= 1 / EVALUATIONS:
                    self._evaluate(so_far, share)
        self._student.load_state_dict(so_far.weights)
        return so_far

    @property
    def _student(self) -> fx.GraphModule:
        return self.objective.student

    def _share(self, so_far: BestWeights) -> float:
        return self.effort.share(so_far.step, so_far.seconds)

    def _groups(self) -> Iterator[dict[str, Any]]:
        return (group for optimizer in self.optimizers for group in optimizer.param_groups)

    def _step(self, so_far: BestWeights, share: float) -> None:
        torch.manual_seed(self.seed + so_far.step)  # for dropout
        for group in self._groups():
            group["lr"] = group["initial_lr"] * _schedule(share)
        self._student.train(self.batch_training)
        self._student.zero_grad()
        self.objective.loss(so_far.step, by_depth=not so_far.alike).backward()  # pyright: ignore[reportUnknownMemberType]
        nn.utils.clip_grad_norm_(self._student.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()

    def _evaluate(self, so_far: BestWeights, share: float) -> None:
        """Measure the held-out error, keep the best weights, write a checkpoint; start again if it leads astray."""
        start = time.perf_counter()
        first, so_far.evaluated = not so_far.evaluated, share
        error = self.objective.held_out_error()
        self._judge(so_far, error)
        if first and self._has_depths and not error < DIVERGED * so_far.first_error:
            so_far.alike = True
            self._go_back(so_far)
        elif share >= HALFWAY and not so_far.slowed and not so_far.best_error < so_far.first_error:
            so_far.slowed = True
            self._go_back(so_far)
            for group in self._groups():
                group["initial_lr"] *= SLOWER
        so_far.seconds += time.perf_counter() - start
        self._report(so_far, error)

    def _go_back(self, so_far: BestWeights) -> None:
        """Give the student the best weights so far; the optimisers begin anew."""
        self._student.load_state_dict(so_far.weights)
        for optimizer in self.optimizers:
            optimizer.state.clear()

    @property
    def _has_depths(self) -> bool:
        """Whether weights by depth differ."""
        return len(set(self.objective.pair.weights)) > 1

    def _judge(self, so_far: BestWeights, error: float) -> None:
        """Keep the student's weights if they are the best so far; an error that isn't a number is never the best."""
        if error < so_far.best_error or not so_far.weights:
            so_far.best_error = error
            so_far.weights = copy.deepcopy(self._student.state_dict())

    def _report(self, so_far: BestWeights, error: float) -> None:
        """Log how far training is, and write a checkpoint."""
        logger.info(
            "%s: %d steps, %.0f s, held-out error %.4f",
            self.name,
            so_far.step,
            so_far.seconds,
            error,
        )
        if self.progress is not None:
            done = min(1.0, self._share(so_far))
            left = _left(so_far.seconds, done)
            self.progress(f"{self.name} {done:4.0%} error {error:.4f}{left}")
        if self.checkpoint is not None:
            write_checkpoint(
                self.checkpoint,
                {
                    "identity": self.identity,
                    "progress": vars(so_far),
                    "weights": self._student.state_dict(),
                    "optimizers": [each.state_dict() for each in self.optimizers],
                },
            )

    def _resumed(self) -> BestWeights | None:
        """Load the progress of a killed run, if it was this one."""
        found = read_checkpoint(self.checkpoint) if self.checkpoint is not None else None
        if found is None or "progress" not in found or found["identity"] != self.identity:
            return None
        self._student.load_state_dict(found["weights"])
        for optimizer, state in zip(self.optimizers, found["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        return BestWeights(**found["progress"])


def _left(seconds: float, done: float) -> str:
    """Say how much time is left, by the time that a share of the work took."""
    if not 0 < done < 1:
        return ""
    left = seconds * (1 - done) / done
    return f", {left / 60:.0f} min left" if left >= 90 else f", {left:.0f} s left"


def _schedule(share: float) -> float:
    """Return the learning rate's factor: a short linear rise, then half a cosine.

    Source: Loshchilov, Hutter, "SGDR", ICLR 2017, equation 5.
    """
    rise = min(1.0, (share + 1e-3) / _WARM_UP)
    return rise * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
