"""The training loop of distillation: seeded, best-so-far, resumable after a kill."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.artifacts import write_checkpoint
from graphprune.loading import read_checkpoint

from .augment import augment
from .effort import Effort
from .targets import Outputs, Target

__all__ = ["Held", "Loop", "Settings"]

logger = logging.getLogger(__name__)

Model = Callable[[Sequence[Any]], Outputs]

EVALUATIONS = 20
"""How often the held-out error is looked at, and a checkpoint written."""

_WARM_UP = 0.05
"""Share of the effort in which the rate rises."""


@dataclass(frozen=True)
class Settings:
    """How to train; see ``Distil``."""

    effort: Effort
    rate: float
    optimizer: str
    decay: float
    augment: tuple[str, ...]
    batch_training: bool
    seed: int


@dataclass
class Held:
    """What a killed run must not lose.

    Attributes:
        step: steps done.
        seconds: spent on them.
        first: held-out error before the first step.
        best: the lowest since.
        evaluated: share of the effort at the last evaluation.
        weights: of the best student.
    """

    step: int = 0
    seconds: float = 0.0
    first: float = math.inf
    best: float = math.inf
    evaluated: float = 0.0
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Loop:
    """Everything that stays the same while the student is trained.

    Attributes:
        student: obeys ``.train()`` and ``.eval()``; its weights change.
        call: the student as a function from flat inputs to outputs.
        draw: number of a step -> flat inputs and the dense outputs, or ``None`` to compute them.
        teacher: the dense program.
        held_out: inputs and dense outputs that aren't trained on.
        target: the distance.
        settings: how to train.
        checkpoint: where to keep the state; ``None``: nowhere.
        identity: a checkpoint of another run is not resumed.
        progress: told how far it is.
    """

    student: nn.Module
    call: Model
    draw: Callable[[int], tuple[Sequence[Any], Outputs | None]]
    teacher: Model
    held_out: Sequence[tuple[Sequence[Any], Outputs]]
    target: Target
    settings: Settings
    checkpoint: Path | None
    identity: str
    progress: Callable[[str], Any] | None

    def run(self) -> Held:
        """Train until the effort is spent; the student ends with the best weights."""
        optimizer = self._optimizer()
        held = self._resumed(optimizer) or self._evaluated(Held(), optimizer)
        with torch.random.fork_rng(devices=[]):
            while (share := self.settings.effort.share(held.step, held.seconds)) < 1:
                start = time.perf_counter()
                self._step(optimizer, held.step, share)
                held.step += 1
                held.seconds += time.perf_counter() - start
                share = self.settings.effort.share(held.step, held.seconds)
                if share >= 1 or share - held.evaluated >= 1 / EVALUATIONS:
                    held.evaluated = share
                    held = self._evaluated(held, optimizer)
        self.student.load_state_dict(held.weights)
        return held

    def _step(self, optimizer: torch.optim.Optimizer, step: int, share: float) -> None:
        torch.manual_seed(self.settings.seed + step)  # for dropout
        generator = torch.Generator().manual_seed(self.settings.seed + step)
        inputs, wanted = self.draw(step)
        inputs = augment(self.settings.augment, inputs, generator)
        if wanted is None:
            with torch.no_grad():
                wanted = self.teacher(inputs)
        for group in optimizer.param_groups:
            group["lr"] = self.settings.rate * _schedule(share)
        self.student.train(self.settings.batch_training)
        optimizer.zero_grad()
        self.target.error(self.call(inputs), wanted).backward()  # pyright: ignore[reportUnknownMemberType]
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        optimizer.step()

    def _evaluated(self, held: Held, optimizer: torch.optim.Optimizer) -> Held:
        """Look at the held-out error, keep the best, write a checkpoint."""
        start = time.perf_counter()
        self.student.eval()
        with torch.no_grad():
            errors = [float(self.target.error(self.call(x), y)) for x, y in self.held_out]
        error = sum(errors) / len(errors)
        if held.step == 0:
            held.first = error
        if error < held.best or not held.weights:  # an error that isn't a number is no best
            held.best = error
            held.weights = copy.deepcopy(self.student.state_dict())
        held.seconds += time.perf_counter() - start
        done = min(1.0, self.settings.effort.share(held.step, held.seconds))
        logger.info("distil: %d steps, %.0f s, held-out error %.4f", held.step, held.seconds, error)
        if self.progress is not None:
            self.progress(f"distil {done:4.0%} error {error:.4f}")
        if self.checkpoint is not None:
            write_checkpoint(self.checkpoint, {
                "identity": self.identity, "held": vars(held), "weights": self.student.state_dict(),
                "optimizer": optimizer.state_dict()})
        return held

    def _resumed(self, optimizer: torch.optim.Optimizer) -> Held | None:
        """The state of a killed run, if it was this one."""
        found = read_checkpoint(self.checkpoint) if self.checkpoint is not None else None
        if found is None or found.get("identity") != self.identity:
            return None
        self.student.load_state_dict(found["weights"])
        optimizer.load_state_dict(found["optimizer"])
        return Held(**found["held"])

    def _optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        # Norms and biases aren't pulled towards zero: they are few, and that shifts outputs.
        parameters = list(self.student.parameters())
        groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.decay},
                  {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=settings.rate)
        return torch.optim.SGD(groups, lr=settings.rate, momentum=0.9, nesterov=True)


def _schedule(share: float) -> float:
    """A short rise, then half a cosine: Loshchilov, Hutter, "SGDR", ICLR 2017, equation 5."""
    rise = min(1.0, (share + 1e-3) / _WARM_UP)
    return rise * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
