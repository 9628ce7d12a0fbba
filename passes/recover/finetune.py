"""The pass that trains the smaller program on labelled samples, towards the dense one and the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.export import ExportedProgram

from graphprune.data.labelled import Labelled
from graphprune.errors import OptionError
from graphprune.pipeline import RunFact, State

from .distil import Imitation, samples_in_step
from .effort import Effort
from .samples import split
from .teacher_student import Teacher

__all__ = ["Finetune", "Finetuned"]


@dataclass(frozen=True)
class Finetuned(RunFact):
    """Result of fine-tuning, as measured on samples that were held out from it.

    Attributes:
        before: cross-entropy before.
        after: cross-entropy afterwards; never above ``before``.
        accuracy_before: share of these samples that got the right class before, 0 to 1.
        accuracy_after: that share afterwards.
        epochs: passes over the samples.
        steps: steps taken.
        samples: labelled samples, held-out ones included.
        seconds: seconds spent.
    """

    before: float
    after: float
    accuracy_before: float
    accuracy_after: float
    epochs: int
    steps: int
    samples: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Finetune(Imitation):
    """Train a classifier on labelled samples, by distillation and cross-entropy.

    Given: as for ``Distil``, with labelled samples. Result: the same graph with other weights, those with the
    lowest cross-entropy on samples that weren't trained on; if none is lower than before, nothing changes.
    It is seeded and resumes as ``Distil`` does. Beside the attributes of ``Imitation`` it has one.

    Attributes:
        epochs: passes over the samples.
    """

    name: ClassVar[str] = "finetune"
    needs = (Teacher, Labelled)
    gives = (Finetuned,)
    epochs: int

    def __post_init__(self) -> None:
        """Refuse options that make no sense with labels.

        Raises:
            OptionError: with the option's name.
        """
        super().__post_init__()
        if self.epochs < 1:
            raise OptionError("finetune takes at least 1 epoch", options=("finetune",))
        if "mix" in self.augment:
            raise OptionError(
                "mixed inputs have no label",
                hint="leave out mix",
                options=("augment", "finetune"),
            )

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Finetuned]]:
        """Train a copy of the program, and return it if its held-out cross-entropy is lower.

        Raises:
            OptionError: as ``Imitation.train``.
        """
        data = state[Labelled].data
        numbers, _ = split(data)
        count = sum(len(data.batches[i][-1]) for i in numbers)
        steps = self.epochs * max(1, count // samples_in_step(state.program))
        found = self.train(state, data, Effort(steps=steps), labelled=True)
        best, (accuracy_before, accuracy_after) = found.best, found.accuracies
        assert accuracy_before is not None
        assert accuracy_after is not None
        after = min(best.best_error, best.first_error)
        return found.program, (
            Finetuned(
                best.first_error,
                after,
                accuracy_before,
                accuracy_after,
                self.epochs,
                best.step,
                data.samples,
                best.seconds,
            ),
        )
