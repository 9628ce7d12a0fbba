"""Cuts: a choice of channels to keep, and the smaller graph that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.emptied import Emptied
from graphprune.analysis.groups import Group
from graphprune.axes.kept import Kept
from graphprune.errors import InternalError, PlanError
from graphprune.ir.program import fingerprint
from graphprune.ir.relift import relift
from graphprune.pipeline import RunFact
from graphprune.plan.plan import Plan

from .baked_weights import baked_calls, baked_sources, baked_values
from .constants import constant_names, constant_sources, constant_values
from .rewrite_graph import rewrite_graph
from .slice_tensors import slice_tensors, spread_tensors

__all__ = ["Cut", "check_plan"]


@dataclass(frozen=True, eq=False)
class Cut(RunFact):
    """A choice of channels and all that follows from it, each part computed when first asked for.

    Attributes:
        analysis: of the dense program.
        kept: the rows of its axes that stay.
    """

    analysis: Analysis
    kept: Kept

    @classmethod
    def keeping(cls, analysis: Analysis, keep: Mapping[str, Iterable[int]]) -> Cut:
        """Make the cut that keeps some channels of some groups; absent groups stay whole.

        Args:
            analysis: of the dense program.
            keep: group id -> numbers of the channels that stay.

        Raises:
            PlanError: if a group keeps no channel that can't go whole.
        """
        cut = cls(analysis, analysis.kept(keep))
        if cut.left.trouble:
            names = [analysis.groups[number].id for number in sorted(cut.left.gone)]
            raise PlanError(
                f"all channels of {', '.join(names[:5])} can't go: {cut.left.trouble}",
                hint="`graphprune inspect` lists the groups that can go whole",
            )
        return cut

    @cached_property
    def left(self) -> Emptied:
        """What is left of the dense graph where whole groups go."""
        gone = [
            number
            for number, group in enumerate(self.analysis.groups)
            if not self.kept.alive[group.labels].any()
        ]
        return self.analysis.without(gone)

    @cached_property
    def constants(self) -> Mapping[fx.Node, str]:
        """Calls whose results are constant without the groups that go, with the names of stored tensors."""
        return constant_names(self.analysis, self.left) if self.left.gone else {}

    @cached_property
    def stored_sources(self) -> tuple[str, ...]:
        """Names of the dense tensors that those which the cut stores in place of calls are computed from."""
        analysis = self.analysis
        found = baked_sources(analysis, self.baked)
        if self.constants:
            found += constant_sources(analysis, self.left, list(self.constants))
        return tuple(dict.fromkeys(found))

    @classmethod
    def from_plan(cls, plan: Plan, analysis: Analysis) -> Cut:
        """Make the cut that a plan asks for; the weights may be other than those it was made with.

        Raises:
            MismatchError: if the plan was made for another architecture.
        """
        check_plan(plan, analysis)
        return cls.keeping(analysis, plan.keep)

    def channels(self, group: Group) -> NDArray[np.int64]:
        """List the numbers of a group's channels that stay, ascending."""
        return np.flatnonzero(self.kept.alive[group.labels])

    @cached_property
    def baked(self) -> Mapping[fx.Node, str]:
        """Calls whose results the cut stores as tensors, with their names (``baked_weights.py``)."""
        found = baked_calls(self.analysis, self.kept)
        return {node: name for node, name in found.items() if self.left.computed(node)}

    @cached_property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Tensors of the cut graph that the dense graph doesn't have: sliced and baked ones, and constants."""
        return {**self.sliced(self.analysis.tensors), **self.baked_values()}

    @cached_property
    def module(self) -> fx.GraphModule:
        """The cut graph. Shared: not to be changed."""
        return self._graph[0]

    @cached_property
    def copies(self) -> Mapping[fx.Node, fx.Node]:
        """The node of ``module`` for each node of the dense graph whose value it computes."""
        return self._graph[1]

    @cached_property
    def _graph(self) -> tuple[fx.GraphModule, dict[fx.Node, fx.Node]]:
        return self.graph()

    def graph(self) -> tuple[fx.GraphModule, dict[fx.Node, fx.Node]]:
        """Make ``module`` and ``copies`` again, to be changed by the caller."""
        return rewrite_graph(self)

    @cached_property
    def program(self) -> ExportedProgram:
        """The cut graph, exported again with the dense program's inputs."""
        return relift(self.module, self.dense)

    @property
    def dense(self) -> ExportedProgram:
        """The dense program, before anything is removed."""
        if self.analysis.program is None:
            raise InternalError("the analysis is of a graph that came without a program")
        return self.analysis.program

    def sliced(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Slice those of some tensors in dense shapes that shrink. Shared tensors stay shared."""
        return slice_tensors(tensors, self.analysis.axes, self.kept)

    def spread(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Write tensors of the cut graph into the rows that stay of copies of the dense tensors."""
        return spread_tensors(self.analysis.tensors, self.analysis.axes, self.kept, tensors)

    def baked_values(
        self, tensors: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute the baked tensors and the constants by name, from other dense tensors where these are given."""
        return {
            **baked_values(self.analysis, self.kept, self.baked, tensors),
            **self.constant_values(tensors),
        }

    def constant_values(
        self,
        tensors: Mapping[str, torch.Tensor] | None = None,
        dtype: torch.dtype | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the constants of removed branches by name, from other dense tensors where these are given.

        Args:
            tensors: dense tensors by name.
            dtype: of the constants; by default that of the values they stand for.
        """
        return constant_values(self.analysis, self.left, self.kept, self.constants, tensors, dtype)


def check_plan(plan: Plan, analysis: Analysis) -> None:
    """Check that a plan is for the network that was analysed.

    Raises:
        MismatchError: if it was made for another architecture, or only it allows inexact cuts.
    """
    groups = {group.id: group.width for group in analysis.groups}
    plan.check(fingerprint(analysis.module), groups, allow_inexact=analysis.allow_inexact)
