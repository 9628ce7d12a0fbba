"""Costs that a budget can bound, as functions of the widths: MACs, parameters, latency, memory, file size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.analysis.branch_costs import costs_left
from graphprune.axes.polynomial import Polynomial, total
from graphprune.cut.cut import Cut
from graphprune.errors import OptionError
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.program import input_names, output_names
from graphprune.passes.batchnorm.fold import fold_batchnorm
from graphprune.passes.latency import Latency, branch_workload, workload
from graphprune.passes.solver import Factor
from graphprune.passes.solver.cost_tables import absorb, few_switches, polynomial_factors
from graphprune.plan.latency_table import LatencyTable

from .memory_costs import folded_bytes, peaks

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphprune.analysis.analyse import Analysis
    from graphprune.passes.solver.equal_widths import EqualWidths

__all__ = ["Cost", "cost_left", "cost_of"]

Widths = Sequence[NDArray[np.int64]]


class Cost(Protocol):
    """A cost of a network, as a function of the widths of its groups."""

    def at(self, widths: Sequence[int] | NDArray[np.int64]) -> float:
        """Return the cost when group ``g`` keeps ``widths[g]`` channels."""
        ...

    def factors(self, candidates: Widths, equal: EqualWidths) -> list[tuple[Factor, ...]]:
        """Return sums of tables over candidate widths per group; the cost is the largest of the sums, or less.

        Groups of one width may stand in for each other in them.
        """
        ...

    def is_exact(self, candidates: Widths) -> bool:
        """Whether the tables add up to the cost exactly, and not only nearly."""
        ...


@dataclass(frozen=True)
class LargestPolynomial:
    """A cost that is the largest of some polynomials in the widths.

    Attributes:
        parts: the polynomials, at least one.
    """

    parts: tuple[Polynomial, ...]

    def at(self, widths: Sequence[int] | NDArray[np.int64]) -> float:
        """Return the cost at widths; see `Cost`."""
        return max(part.at(widths) for part in self.parts)

    def factors(self, candidates: Widths, equal: EqualWidths) -> list[tuple[Factor, ...]]:
        """Return the cost as sums of tables; see `Cost`."""
        return [
            polynomial_factors(candidates, few_switches(candidates, equal.in_firsts(part.terms)))
            for part in self.parts
        ]

    def is_exact(self, candidates: Widths) -> bool:
        """Whether the tables are exact; see `Cost`."""
        return all(few_switches(candidates, part.terms) == part.terms for part in self.parts)


@dataclass(frozen=True)
class LatencyCost:
    """Predicted latency in microseconds, the unit of budgets."""

    latency: Latency = field(repr=False)

    def at(self, widths: Sequence[int] | NDArray[np.int64]) -> float:
        """Return the cost at widths; see `Cost`."""
        return 1e6 * self.latency.at(widths)

    def factors(self, candidates: Widths, equal: EqualWidths) -> list[tuple[Factor, ...]]:
        """Return the cost as sums of tables; see `Cost`."""
        tables, rest = self.latency.factors(candidates)
        scaled = [Factor(f.scope, 1e6 * f.table) for f in tables]
        terms = few_switches(candidates, equal.in_firsts(rest.scaled(1e6).terms))
        return [absorb([*scaled, *polynomial_factors(candidates, terms)])]

    def is_exact(self, candidates: Widths) -> bool:
        """Whether the tables are exact; see `Cost`."""
        return self.latency.is_exact(candidates)


@dataclass(frozen=True)
class BranchLatencyCost(LatencyCost):
    """Predicted latency of a network whose branches may go whole, by what runs without each choice of them.

    The tables are only near it where branches that are gone share operators. A BatchNorm that can fold only
    because a branch is gone still counts.
    """

    analysis: Analysis = field(repr=False)

    def at(self, widths: Sequence[int] | NDArray[np.int64]) -> float:
        """Return the cost at widths; see `Cost`."""
        gone = [number for number, width in enumerate(widths) if not width]
        if not gone:
            return super().at(widths)
        left = self.analysis.without(gone, idle=True)
        table = self.latency.table
        work = workload(self.analysis, table.batch, left)
        own = [0 if number in left.gone else int(w) for number, w in enumerate(widths)]
        return 1e6 * Latency(work, table, lenient=True).at(own)

    def is_exact(self, candidates: Widths) -> bool:
        """Whether the tables are exact; see `Cost`."""
        return super().is_exact(candidates) and all(w[0] > 0 for w in candidates)


def cost_of(
    name: str,
    analysis: Analysis,
    program: ExportedProgram,
    table: LatencyTable | None,
    *,
    depth: bool = False,
) -> Cost:
    """Return the cost that a budget names.

    Args:
        name: ``macs``, ``params``, ``latency``, ``memory`` or ``size``.
        analysis: the analysis of the dense program.
        program: the dense program.
        table: measured kernels, for the latency; unit: seconds.
        depth: whether groups may go whole, so that a width may be 0. The costs are upper bounds then, where
            branches only together make calls needless; but for the latency each choice of branches counts as it is.

    Raises:
        OptionError: if there is no such cost, or the latency has no table.
        MismatchError: if the table is another network's.
        ExportError: if the size of a file is asked for, and the network can't be exported.
    """
    if name in ("macs", "params"):
        polynomial: Polynomial = getattr(analysis.branch_costs if depth else analysis.costs, name)
        return LargestPolynomial((polynomial,))
    if name == "latency":
        if table is None:
            raise OptionError(
                "a latency budget needs a latency table",
                hint="graphprune profile MODEL",
                options=("latency_table",),
            )
        if depth:
            work = branch_workload(analysis, table.batch)
            return BranchLatencyCost(Latency(work, table), analysis)
        return LatencyCost(Latency(workload(analysis, table.batch), table))
    if name == "memory":
        weights = folded_bytes(analysis, depth=depth)
        return LargestPolynomial(
            tuple(total([weights, live]) for live in peaks(analysis, depth=depth))
        )
    if name == "size":
        weights, graph = folded_bytes(analysis, depth=depth), _graph_bytes(program)
        return LargestPolynomial((total([weights, Polynomial.constant(graph)]),))
    raise OptionError(f"no cost {name!r}", hint="one of macs, params, latency, memory, size")


def cost_left(
    cost: Cost, name: str, analysis: Analysis, widths: Sequence[int], program: ExportedProgram
) -> float:
    """Return a cost at widths some of which may be 0, exactly.

    Args:
        cost: see ``cost_of``, with ``depth`` where a width is 0.
        name: of it.
        analysis: the analysis of the dense program.
        widths: of all groups, also of those that go only because others do.
        program: the dense program.
    """
    gone = [number for number, width in enumerate(widths) if not width]
    if not gone or name == "latency":
        return cost.at(widths)
    left = analysis.without(gone)
    if name in ("macs", "params"):
        polynomial: Polynomial = getattr(costs_left(analysis, left), name)
        return polynomial.at(widths)
    weights = folded_bytes(analysis, left).at(widths)
    if name == "memory":
        return weights + max(live.at(widths) for live in peaks(analysis, left))
    small = Cut.keeping(analysis, {analysis.groups[number].id: () for number in gone}).program
    return weights + _graph_bytes(small)


def _graph_bytes(program: ExportedProgram) -> int:
    """Return the bytes of an ONNX file that aren't weights."""
    folded = fold_batchnorm(program)
    model = to_onnx(folded, input_names=input_names(program), output_names=output_names(program))
    stored = (t for t in model.graph.initializer if t.name in folded.state_dict)
    return model.ByteSize() - sum(len(t.raw_data) for t in stored)
