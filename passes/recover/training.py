"""The training loop of distillation: seeded, keeps the best weights, resumes after a kill."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from graphprune.io.files import write_checkpoint
from graphprune.ir.devices import forked_random
from graphprune.loading import read_checkpoint

from .augment import augment
from .distance import Distance, Outputs
from .effort import Effort
from .teacher_student import Pair

__all__ = ["BestWeights", "Loop", "Settings", "held_out_error"]

logger = logging.getLogger(__name__)

EVALUATIONS = 10
"""Evaluations of the held-out error in a run; at each a checkpoint is written."""

INNER = 3.0
"""Weight of the error of values inside, that of the outputs being 1. What was tried: ``docs/experiments.md``."""

DIVERGED = 2.0
"""Ratio of the held-out error at the first evaluation to that at the start, from which on weights by depth are
given up and training starts again without them. What was tried: ``docs/experiments.md``."""

_WARM_UP = 0.05
"""Share of the effort during which the learning rate rises."""


@dataclass(frozen=True)
class Settings:
    """Settings of training: those of ``Distil``, and ``inner``, the weight of values inside."""

    effort: Effort
    augment: tuple[str, ...]
    batch_training: bool
    seed: int
    inner: float = INNER


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
    """

    step: int = 0
    seconds: float = 0.0
    first_error: float = math.inf
    best_error: float = math.inf
    evaluated: float = 0.0
    weights: dict[str, Tensor] = field(default_factory=dict)
    alike: bool = False


@dataclass(frozen=True)
class Loop:
    """Training loop, with everything that stays the same while the student is trained.

    Attributes:
        pair: the dense network and the student, whose weights change.
        draw: number of a step -> flat inputs.
        held_out: inputs and dense outputs that aren't trained on.
        distance: distance of outputs.
        inside: distance of values inside, all of the same weight.
        deep: distance of values inside, weighted by their depth, with which training starts. If the held-out
            error diverges (``DIVERGED``), it starts again with ``inside``, in what is left of the effort.
        settings: how to train.
        optimizers: optimisers of the student; their learning rates are the highest of the schedule.
        device: where both networks and their inputs are.
        checkpoint: file to write checkpoints to; ``None``: no checkpoints.
        identity: hash of the run; a checkpoint of another run is not resumed.
        progress: called with how far training is.
        begun: when the pass began, by ``time.perf_counter``.
    """

    name: ClassVar[str] = "distil"
    pair: Pair
    draw: Callable[[int], Sequence[Any]]
    held_out: Sequence[tuple[Sequence[Any], Outputs]]
    distance: Distance
    inside: Distance
    deep: Distance
    settings: Settings
    optimizers: Sequence[torch.optim.Optimizer]
    device: torch.device
    checkpoint: Path | None
    identity: str
    progress: Callable[[str], Any] | None
    begun: float

    def run(self) -> BestWeights:
        """Train until the effort is spent; the student ends with the best weights."""
        for group in self._groups():
            group["initial_lr"] = group["lr"]
        so_far = self._resumed() or self._evaluated(
            BestWeights(seconds=time.perf_counter() - self.begun)
        )
        with forked_random(self.device):
            while (share := self.settings.effort.share(so_far.step, so_far.seconds)) < 1:
                start = time.perf_counter()
                self._step(so_far, share)
                so_far.step += 1
                so_far.seconds += time.perf_counter() - start
                share = self.settings.effort.share(so_far.step, so_far.seconds)
                if share >= 1 or share - so_far.evaluated >= 1 / EVALUATIONS:
                    first_look = not so_far.evaluated
                    so_far.evaluated = share
                    so_far = self._evaluated(so_far, may_restart=first_look)
        self.student.load_state_dict(so_far.weights)
        return so_far

    def _step(self, so_far: BestWeights, share: float) -> None:
        torch.manual_seed(self.settings.seed + so_far.step)  # for dropout
        for group in self._groups():
            group["lr"] = group["initial_lr"] * _schedule(share)
        self.student.train(self.settings.batch_training)
        self.student.zero_grad()
        self._loss(so_far.step, self.inside if so_far.alike else self.deep).backward()  # pyright: ignore[reportUnknownMemberType]
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()

    def _loss(self, step: int, distance: Distance) -> Tensor:
        """Return the loss of a step: how far the student is from the dense network."""
        return self._imitated(self._changed(self.draw(step), step), distance)[0]

    def _changed(self, inputs: Sequence[Any], step: int) -> Sequence[Any]:
        """Change the inputs of a step at random, as the settings say."""
        generator = torch.Generator().manual_seed(self.settings.seed + step)
        return augment(self.settings.augment, inputs, generator)

    def _imitated(self, inputs: Sequence[Any], distance: Distance) -> tuple[Tensor, Outputs]:
        """Return the error of the outputs plus the weighted mean error of the values inside, and the outputs."""
        wanted, wanted_inside = self.pair.wanted(inputs)
        got, inside = self.student(*inputs)
        error = self.distance.between(got, wanted)
        if inside:
            error = error + self.settings.inner * distance.between(inside, wanted_inside)
        return error, got

    def _held_out_error(self) -> float:
        """Measure the error on data that isn't trained on, in evaluation mode."""
        return held_out_error(self.student, self.held_out, self.distance)

    @property
    def student(self) -> fx.GraphModule:
        """Student network, whose weights are trained."""
        return self.pair.small

    def _groups(self) -> Iterator[dict[str, Any]]:
        return (group for optimizer in self.optimizers for group in optimizer.param_groups)

    def _evaluated(self, so_far: BestWeights, *, may_restart: bool = False) -> BestWeights:
        """Measure the held-out error, keep the best weights, write a checkpoint; start again if it diverges."""
        start = time.perf_counter()
        self.student.eval()
        with torch.no_grad():
            error = self._held_out_error()
        if so_far.step == 0:
            so_far.first_error = error
        # An error that isn't a number is never the best.
        if error < so_far.best_error or not so_far.weights:
            so_far.best_error = error
            so_far.weights = copy.deepcopy(self.student.state_dict())
        if may_restart and self.deep != self.inside and not error < DIVERGED * so_far.first_error:
            so_far.alike = True
            self.student.load_state_dict(so_far.weights)
            for optimizer in self.optimizers:
                optimizer.state.clear()
        so_far.seconds += time.perf_counter() - start
        done = min(1.0, self.settings.effort.share(so_far.step, so_far.seconds))
        logger.info(
            "%s: %d steps, %.0f s, held-out error %.4f",
            self.name,
            so_far.step,
            so_far.seconds,
            error,
        )
        if self.progress is not None:
            left = _left(so_far.seconds, done)
            self.progress(f"{self.name} {done:4.0%} error {error:.4f}{left}")
        if self.checkpoint is not None:
            write_checkpoint(
                self.checkpoint,
                {
                    "identity": self.identity,
                    "progress": vars(so_far),
                    "weights": self.student.state_dict(),
                    "optimizers": [each.state_dict() for each in self.optimizers],
                },
            )
        return so_far

    def _resumed(self) -> BestWeights | None:
        """Load the progress of a killed run, if it was this one."""
        found = read_checkpoint(self.checkpoint) if self.checkpoint is not None else None
        if found is None or "progress" not in found or found["identity"] != self.identity:
            return None
        self.student.load_state_dict(found["weights"])
        for optimizer, state in zip(self.optimizers, found["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        return BestWeights(**found["progress"])


def held_out_error(
    student: nn.Module, held_out: Sequence[tuple[Sequence[Any], Outputs]], distance: Distance
) -> float:
    """Measure the mean error of a student's outputs on batches that aren't trained on; it is in evaluation mode then.

    Args:
        student: as in ``Pair``.
        held_out: as in ``Loop``.
        distance: as in ``Loop``.
    """
    student.eval()
    with torch.no_grad():
        errors = [float(distance.between(student(*x)[0], y)) for x, y in held_out]
    return sum(errors) / len(errors)


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
