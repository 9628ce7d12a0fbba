"""The pass that cuts the program by a plan, and verifies the result against the masked original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.passes.decision import Decision
from graphprune.pipeline import State, TransformPass
from graphprune.verify.oracle import Verdict, verify

__all__ = ["Prune"]


@dataclass(frozen=True)
class Prune(TransformPass):
    """Remove the channels that the plan doesn't keep.

    Given: a program, its analysis and a decision. Result: a smaller program that equals the
    masked original, the cut it came from, and the oracle's verdict. A plan that keeps all channels
    gives an equal program.
    """

    name: ClassVar[str] = "prune"
    needs = (Analysis, Decision)
    gives = (Cut, Verdict)

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Cut, Verdict]]:
        """Cut the program, and compare it with the masked original.

        Raises:
            MismatchError: if the plan is for another architecture.
            VerifyError: if the oracle finds a difference.
        """
        cut = Cut.from_plan(state[Decision].plan, state[Analysis])
        return cut.program, (cut, verify(cut))
