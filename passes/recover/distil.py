"""Distil: train the smaller program for a short while to compute what the dense one does."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.export import ExportedProgram

from graphprune.calibration import Calibration, batch_size, dynamic_batch
from graphprune.eager import trainable_graph
from graphprune.errors import PlanError
from graphprune.graph import fingerprint, unlift, user_inputs
from graphprune.passes.allocate import Decision
from graphprune.pipeline import State, TransformPass
from graphprune.verify import Verdict

from .augment import check_names
from .effort import Effort
from .merge import Merged
from .recover import Recovered, with_tensors
from .targets import Outputs, Target, caller
from .training import Loop, Settings

__all__ = ["Distil", "Distilled"]

RATES = {"adamw": 5e-4, "sgd": 0.02}
"""Optimisers and their highest rates. AdamW's is for repaired weights: a ResNet-56 (output error 0.032) came
to 0.030 in 150 steps at 3e-4, and rose to 0.074 in the first 50 at 1e-3. What was cut by magnitude alone
wants more: a ResNet-20 at half its FLOPs (19 %) came in 200 steps to 79.8 % at 1e-3 and 80.7 % at 3e-3."""

BATCH = 32
"""Samples in a step, where the program takes any number. The repaired ResNet-20 of ``targets.py`` came to
84.8 % in 800 steps of 32 images, to 84.5 % in 400 of 64."""

HELD_OUT = 0.125
"""Share of the calibration data that is not trained on."""

CACHE = 2**28
"""Dense outputs are computed once if they take no more bytes than this."""


@dataclass(frozen=True)
class Distilled:
    """What distillation did.

    Attributes:
        before: held-out squared error in the outputs, relative to the dense outputs' variance.
        after: the same afterwards; never more than before.
        steps: taken.
        seconds: spent.
    """

    before: float
    after: float
    steps: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Distil(TransformPass):
    """Train the weights towards the dense program's outputs, without labels.

    Given: a smaller program with the dense program's inputs and outputs. Result: the same graph
    with other weights, those with the lowest error on data that wasn't trained on; if none is
    lower than before, nothing changes.

    Steps are seeded: with the same number of threads, the same steps give the same weights. A
    time is not repeatable.

    Attributes:
        dense: the program to imitate.
        data: unlabelled inputs.
        effort: steps, or a time.
        optimizer: ``adamw`` or ``sgd``.
        rate: its highest rate; 0: a default.
        decay: weight decay.
        augment: names in ``augment.AUGMENTATIONS``; none of them is right for every model.
        batch_training: BatchNorm uses the batch's statistics, and dropout is on.
        seed: of the order of samples, and of augmentation.
        checkpoint: a file that lets a killed run go on; the caller removes it in the end.
        progress: told how far it is.
    """

    name: ClassVar[str] = "distil"
    gives = (Distilled,)
    keeps = (Decision, Merged, Recovered, Verdict)
    dense: ExportedProgram = field(repr=False)
    data: Calibration = field(repr=False)
    effort: Effort
    optimizer: str = "adamw"
    rate: float = 0.0
    decay: float = 0.0
    augment: tuple[str, ...] = ()
    batch_training: bool = True
    seed: int = 0
    checkpoint: Path | None = None
    progress: Callable[[str], Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse options that can't be meant.

        Raises:
            PlanError: with the option's name.
        """
        if self.optimizer not in RATES:
            raise PlanError(f"no optimizer {self.optimizer!r}", hint=f"one of {', '.join(RATES)}")
        check_names(self.augment, user_inputs(self.dense))

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Distilled]]:
        """Train.

        Raises:
            PlanError: if the program has no floating-point output, or no weights to train.
        """
        student = _student(state.program)
        size = BATCH if dynamic_batch(state.program) else batch_size(state.program)
        samples = _Samples(self.data, size, self.seed)
        teacher = caller(unlift(self.dense), self.dense)
        _, aside = self.data.split(HELD_OUT)
        held_out = [self.data.batches[i] for i in aside]
        dense = _outputs(teacher, held_out)
        whole = _bytes(dense) * len(self.data.batches) / len(aside)
        cached = None if self.augment or whole > CACHE else _outputs(teacher, self.data.batches)
        loop = Loop(
            student=student, call=caller(student, state.program), teacher=teacher,
            draw=lambda step: samples.draw(step, cached),
            held_out=list(zip(held_out, dense, strict=True)),
            target=Target.of(dense), settings=self._settings(), checkpoint=self.checkpoint,
            identity=self._identity(student), progress=self.progress,
        )
        held = loop.run()
        found = Distilled(held.first, min(held.best, held.first), held.step, held.seconds)
        if not held.best < held.first:
            return state.program, (found,)
        trained = dict(student.named_parameters(remove_duplicate=False))
        trained |= dict(student.named_buffers(remove_duplicate=False))
        return with_tensors(state.program, trained), (found,)

    def _settings(self) -> Settings:
        return Settings(self.effort, self.rate or RATES[self.optimizer], self.optimizer, self.decay,
                        self.augment, self.batch_training, self.seed)

    def _identity(self, student: nn.Module) -> str:
        """Of this run: the program, its weights, the data and the options."""
        digest = hashlib.sha256(f"{asdict(self._settings())} "
                                f"{self.data.samples} {fingerprint(unlift(self.dense))}".encode())
        for name, tensor in student.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
        return digest.hexdigest()


class _Samples:
    """Draws batches from the calibration data that isn't held out, one pass after another."""

    def __init__(self, data: Calibration, size: int, seed: int) -> None:
        numbers, _ = data.split(HELD_OUT)
        self._batches = data.batches
        self._places = [(i, row) for i in numbers for row in range(_rows(data.batches[i]))]
        self._size = min(size, len(self._places))
        self._seed = seed

    def draw(self, step: int, outputs: Sequence[Outputs] | None) -> tuple[list[Any], Outputs | None]:
        """Inputs of a step and, where they are known, the outputs."""
        steps = len(self._places) // self._size
        generator = torch.Generator().manual_seed(self._seed + step // steps)
        order = torch.randperm(len(self._places), generator=generator).tolist()
        start = step % steps * self._size
        places = [self._places[i] for i in order[start : start + self._size]]
        inputs = _picked(self._batches, places)
        return inputs, None if outputs is None else _picked(outputs, places)


def _picked(batches: Sequence[Sequence[Any]], places: Sequence[tuple[int, int]]) -> list[Any]:
    first = batches[places[0][0]]
    return [
        torch.stack([batches[i][leaf][row] for i, row in places])
        if isinstance(value, torch.Tensor) and value.ndim else value
        for leaf, value in enumerate(first)
    ]


def _rows(batch: Sequence[Any]) -> int:
    return next(len(x) for x in batch if isinstance(x, torch.Tensor) and x.ndim)


def _outputs(model: Callable[[Sequence[Any]], Outputs],
             batches: Sequence[Sequence[Any]]) -> list[Outputs]:
    with torch.no_grad():
        return [model(batch) for batch in batches]


def _bytes(outputs: Sequence[Outputs]) -> int:
    return sum(x.nbytes for batch in outputs for x in batch)


def _student(program: ExportedProgram) -> nn.Module:
    """A trainable copy.

    Raises:
        PlanError: if it has no parameters.
    """
    student = copy.deepcopy(trainable_graph(program))
    if not list(student.parameters()):
        raise PlanError("the program has no parameters to train")
    return student.requires_grad_(True)
