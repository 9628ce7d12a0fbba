"""Begin a run with only some of a network's outputs: what feeds the others alone is gone from the start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch.export import ExportedProgram

from graphprune.ir.keep_outputs import keep_outputs
from graphprune.ir.output_paths import chosen, output_paths
from graphprune.pipeline import RunFact, State
from graphprune.verify.oracle import verify_unchanged

__all__ = ["KeptOutputs", "with_outputs"]


@dataclass(frozen=True)
class KeptOutputs(RunFact):
    """What became of a network's outputs.

    Attributes:
        kept: names of those that stay.
        left_out: names of the others.
        before: parameters of the whole network, in elements.
        after: those that the kept outputs need.
        max_error: largest relative error of the kept outputs against the whole network.
    """

    kept: tuple[str, ...]
    left_out: tuple[str, ...]
    before: int
    after: int
    max_error: float

    @property
    def note(self) -> str:
        """Say in a sentence what was left out."""
        return (
            f"outputs left out: {', '.join(self.left_out)}; the others ({', '.join(self.kept)}) need {self.after:,} of "
            f"{self.before:,} parameters, and are the same to {self.max_error:.1e}. Dense costs are those of what is left"
        )


def with_outputs(state: State, names: Sequence[str]) -> State:
    """Replace the program of a state by the part of it that some outputs need.

    Args:
        state: the traced network.
        names: of the outputs; see ``output_paths``.

    Raises:
        OptionError: if there is no such output.
        TraceError: if torch can't export what is left.
        VerifyError: if the outputs that stay are others than before.
    """
    paths = output_paths(state.program)
    numbers = chosen(paths, names)
    if len(numbers) == len(paths):
        return state
    state.tell("outputs")
    small = keep_outputs(state.program, numbers)
    fact = KeptOutputs(
        kept=tuple(paths[number] for number in numbers),
        left_out=tuple(path for number, path in enumerate(paths) if number not in numbers),
        before=_parameters(state.program),
        after=_parameters(small),
        max_error=verify_unchanged(state.program, small, outputs=numbers).max_error,
    )
    return replace(state, program=small).knowing(fact)


def _parameters(program: ExportedProgram) -> int:
    return sum(math.prod(each.shape) for each in program.parameters())
