"""The pass that finds the groups of channels, their costs and what is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.frozen import unknown_operators
from graphprune.errors import UnsupportedOpError
from graphprune.ir.nodes import called_name, source_line
from graphprune.pipeline import AnalysisPass, State

__all__ = ["Analyse"]


@dataclass(frozen=True)
class Analyse(AnalysisPass):
    """Find the groups of channels that must be cut together, their costs, and what is frozen.

    Given: a program. Result: its ``Analysis``. The program isn't changed.

    Attributes:
        strict_ops: refuse operators without a rule instead of freezing what they touch.
        allow_inexact: cut through statistics too, such as LayerNorm's.
    """

    name: ClassVar[str] = "analyse"
    gives = (Analysis,)
    strict_ops: bool = False
    allow_inexact: bool = False

    def run(self, state: State) -> Analysis:
        """Analyse the program in the state.

        Raises:
            UnsupportedOpError: under ``strict_ops``, naming all operators without a rule.
        """
        analysis = analyse(state.program, allow_inexact=self.allow_inexact)
        unknown = unknown_operators(analysis)
        if unknown and self.strict_ops:
            calls = sorted({f"{called_name(n)} ({source_line(n) or n.name})" for n in unknown})
            raise UnsupportedOpError(
                f"no rule for {', '.join(calls)}",
                hint="add a rule (docs/adding-an-op.md), or accept frozen channels",
                options=("strict_ops",),
            )
        return analysis
