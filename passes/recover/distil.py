"""The pass that trains the smaller program by knowledge distillation from the dense one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram

from graphprune.data.calibration import Calibration, batch_size, dynamic_batch
from graphprune.errors import OptionError
from graphprune.ir.devices import forked_random
from graphprune.ir.program import fingerprint, unlift, user_inputs
from graphprune.pipeline import RunFact, State, TransformPass

from .augment import check_names
from .effort import Effort
from .labelled_objective import LabelledObjective
from .objective import HeldOut, Objective
from .optimizers import RATES, optimizers
from .recover import with_tensors
from .samples import Samples, split
from .teacher_student import Pair, Teacher
from .training import BestWeights, Loop

__all__ = ["Distil", "Distilled", "Imitation", "Trained", "samples_in_step"]

BATCH = 32
"""Samples in a step, where the program takes any number. The repaired ResNet-20 of ``distance.py`` reached
84.8 % in 800 steps of 32 images, and 84.5 % in 400 steps of 64."""

MEASURED = 1024
"""Samples, rounded up to whole batches, on which the optimiser's metrics are measured."""


@dataclass(frozen=True)
class Distilled(RunFact):
    """Result of distillation: the error before and after, and the work spent.

    Attributes:
        before: held-out squared error of the outputs, relative to the dense outputs' variance.
        after: that error afterwards; never above ``before``.
        steps: steps taken.
        seconds: seconds spent.
    """

    before: float
    after: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Trained:
    """Result of training: the program with the best weights, and how that went.

    Attributes:
        program: as it was, if no weights were better.
        best: the progress of training.
        accuracies: share of the held-out samples that got the right class, before and after; ``None`` without labels.
    """

    program: ExportedProgram
    best: BestWeights
    accuracies: tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Imitation(TransformPass):
    """Base of passes that train a smaller program towards the dense program's values.

    Attributes:
        optimizer: ``muon`` or ``adamw``, see ``optimizers.py``.
        rate: highest learning rate; 0: that of ``optimizers.RATES``, less for a student that is near its teacher.
        augment: names in ``augment.AUGMENTATIONS``; none of them is right for every model.
        batch_training: whether BatchNorm uses the batch's statistics, and dropout is on.
        seed: seed of the order of samples, and of augmentation.
        checkpoint: file from which a killed run resumes; the caller removes it in the end.
    """

    optimizer: str = "muon"
    rate: float = 0.0
    augment: tuple[str, ...] = ()
    batch_training: bool = True
    seed: int = 0
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        """Refuse optimisers that are unknown.

        Raises:
            OptionError: with the option's name.
        """
        if self.optimizer not in RATES:
            raise OptionError(f"no optimizer {self.optimizer!r}", hint=f"one of {', '.join(RATES)}")

    def train(
        self, state: State, data: Calibration, effort: Effort, *, labelled: bool = False
    ) -> Trained:
        """Train a copy of the program of a state.

        Args:
            state: the smaller program, with its ``Teacher``.
            data: what to train on; a part is held out.
            effort: how long.
            labelled: whether the last of each batch are labels, which count in the loss too.

        Raises:
            OptionError: if the program has no floating-point output, or another number of outputs
                than the dense one, or no weights to train.
        """
        begun = time.perf_counter()
        dense = state[Teacher].program
        check_names(self.augment, user_inputs(dense))
        pair = Pair.of(dense, state, data.device)
        numbers, aside = split(data)
        end = -1 if labelled else None
        kind = (
            partial(LabelledObjective, labels=[data.batch(i)[-1] for i in aside])
            if labelled
            else Objective
        )
        objective = kind(
            pair=pair,
            draw=Samples(data, numbers, samples_in_step(state.program), self.seed).draw,
            held_out=HeldOut.of(pair, data, aside, end),
            augment=self.augment,
            seed=self.seed,
        )
        first_error, accuracy = objective.held_out_error(), objective.accuracy()
        measured = [data.batches[i][:end] for i in numbers[: -(-MEASURED // batch_size(dense))]]
        near = 1.0 if labelled else first_error
        made = self._optimizers(pair, state.program, measured, near, data.device)
        best = Loop(
            name=self.name,
            objective=objective,
            optimizers=made,
            effort=effort,
            batch_training=self.batch_training,
            seed=self.seed,
            device=data.device,
            checkpoint=self.checkpoint,
            identity=self._identity(pair, made, state, data, effort) if self.checkpoint else "",
            progress=state.progress,
        ).run(first_error, begun)
        accuracies = accuracy, objective.accuracy()
        if not best.best_error < best.first_error:
            return Trained(state.program, best, accuracies)
        tensors = dict(pair.small.named_parameters(remove_duplicate=False))
        tensors |= dict(pair.small.named_buffers(remove_duplicate=False))
        return Trained(with_tensors(state.program, tensors), best, accuracies)

    def _optimizers(
        self,
        pair: Pair,
        program: ExportedProgram,
        batches: Sequence[tuple[Any, ...]],
        error: float,
        device: torch.device,
    ) -> tuple[torch.optim.Optimizer, ...]:
        with forked_random(device):
            torch.manual_seed(self.seed)  # for dropout
            pair.small.train(self.batch_training)
            return optimizers(
                self.optimizer,
                self.rate,
                pair.small,
                program,
                batches,
                error=error,
                alone=not pair.inner,
                device=device,
            )

    def _identity(
        self,
        pair: Pair,
        made: Sequence[torch.optim.Optimizer],
        state: State,
        data: Calibration,
        effort: Effort,
    ) -> str:
        """Hash what identifies this run: program, weights, data, options, learning rates, weights of the errors."""
        rates = [group["lr"] for optimizer in made for group in optimizer.param_groups]
        digest = hashlib.sha256(
            f"{self.name} {effort} {self.augment} {self.batch_training} {self.seed} {self.optimizer} {rates} "
            f"{pair.weights} {data.samples} {fingerprint(unlift(state[Teacher].program))}".encode()
        )
        for name, tensor in pair.small.state_dict().items():
            values = tensor.detach().cpu().contiguous().view(-1)
            # As bytes, since NumPy has no bfloat16.
            digest.update(name.encode() + values.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Distil(Imitation):
    """Train the weights towards the dense program's values by knowledge distillation, without labels.

    Given: a smaller program with the dense program's inputs and outputs; with the decision that it
    was cut by and the measurements before, values inside are imitated as well as outputs (see
    ``teacher_student.py``). Result: the same graph with other weights, those with the lowest error of the
    outputs on data that wasn't trained on; if none is lower than before, nothing changes.

    Steps are seeded: with the same number of threads, the same steps give the same weights. A
    time is not repeatable. Beside the attributes of ``Imitation`` it has one.

    Attributes:
        effort: number of steps, or a time.
    """

    name: ClassVar[str] = "distil"
    needs = (Teacher, Calibration)
    gives = (Distilled,)
    effort: Effort

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Distilled]]:
        """Train a copy of the program, and return it if its held-out error is lower. Errors: as ``train``."""
        found = self.train(state, state[Calibration], self.effort)
        best = found.best
        after = min(best.best_error, best.first_error)
        return found.program, (Distilled(best.first_error, after, best.step, best.seconds),)


def samples_in_step(program: ExportedProgram) -> int:
    """Return how many samples a step of training has."""
    return BATCH if dynamic_batch(program) else batch_size(program)
