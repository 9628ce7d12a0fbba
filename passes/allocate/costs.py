"""Costs that a budget can bound, as functions of the widths: MACs, parameters, latency, memory, file size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.axes.polynomial import Polynomial, total
from graphprune.errors import OptionError
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.nodes import bind
from graphprune.ir.program import input_names, output_names
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.batchnorm.fold import fold_batchnorm
from graphprune.passes.latency import Latency, workload
from graphprune.passes.latency.exported import ACTIVATIONS, Exported
from graphprune.passes.solver import Factor
from graphprune.passes.solver.cost_tables import absorb, polynomial_factors
from graphprune.plan.latency_table import LatencyTable

if TYPE_CHECKING:
    from torch import fx
    from torch.export import ExportedProgram

    from graphprune.analysis.analyse import Analysis

__all__ = ["Cost", "cost_of"]

Widths = Sequence[NDArray[np.int64]]


class Cost(Protocol):
    """A cost of a network, as a function of the widths of its groups."""

    def at(self, widths: Sequence[int] | NDArray[np.int64]) -> float:
        """Return the cost when group ``g`` keeps ``widths[g]`` channels."""
        ...

    def factors(self, candidates: Widths) -> list[tuple[Factor, ...]]:
        """Return sums of tables over candidate widths per group; the cost is the largest of the sums."""
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

    def factors(self, candidates: Widths) -> list[tuple[Factor, ...]]:
        """Return the cost as sums of tables; see `Cost`."""
        return [polynomial_factors(candidates, part.terms) for part in self.parts]

    def is_exact(self, candidates: Widths) -> bool:
        """Whether the tables are exact; see `Cost`."""
        del candidates
        return True


@dataclass(frozen=True)
class LatencyCost:
    """Predicted latency in microseconds, the unit of budgets."""

    latency: Latency = field(repr=False)

    def at(self, widths: Sequence[int] | NDArray[np.int64]) -> float:
        """Return the cost at widths; see `Cost`."""
        return 1e6 * self.latency.at(widths)

    def factors(self, candidates: Widths) -> list[tuple[Factor, ...]]:
        """Return the cost as sums of tables; see `Cost`."""
        tables, rest = self.latency.factors(candidates)
        scaled = [Factor(f.scope, 1e6 * f.table) for f in tables]
        return [absorb([*scaled, *polynomial_factors(candidates, rest.scaled(1e6).terms)])]

    def is_exact(self, candidates: Widths) -> bool:
        """Whether the tables are exact; see `Cost`."""
        return self.latency.is_exact(candidates)


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
        depth: whether groups may go whole, so that a width may be 0.

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
                "a latency budget needs a latency table", hint="graphprune profile MODEL"
            )
        return LatencyCost(Latency(workload(analysis, table.batch), table))
    if name == "memory":
        weights = folded_bytes(analysis)
        return LargestPolynomial(tuple(total([weights, live]) for live in peaks(analysis)))
    if name == "size":
        weights, graph = folded_bytes(analysis), _graph_bytes(program)
        return LargestPolynomial((total([weights, Polynomial.constant(graph)]),))
    raise OptionError(f"no cost {name!r}", hint="one of macs, params, latency, memory, size")


def _graph_bytes(program: ExportedProgram) -> int:
    """Return the bytes of an ONNX file that aren't weights."""
    folded = fold_batchnorm(program)
    model = to_onnx(folded, input_names=input_names(program), output_names=output_names(program))
    stored = (t for t in model.graph.initializer if t.name in folded.state_dict)
    return model.ByteSize() - sum(len(t.raw_data) for t in stored)


def folded_bytes(analysis: Analysis) -> Polynomial:
    """Return the bytes of the weights after BatchNorm folding."""
    exported = Exported(analysis)
    parts = [analysis.costs.weight_bytes]
    biased: set[fx.Node] = set()
    for node in analysis.module.graph.nodes:
        if node.op == "get_attr" and not node.users:  # it isn't exported
            parts.append(exported.bytes(node).scaled(-1))
        site = exported.sites.of(node) if node.target is BATCH_NORM else None
        if site is None:
            continue
        call = bind(node)
        vectors = [call[name] for name in ("weight", "bias", "running_mean", "running_var")]
        parts += [exported.bytes(vector).scaled(-1) for vector in vectors if vector is not None]
        for layer in site.layers:
            if bind(layer)["bias"] is None and layer not in biased:
                biased.add(layer)
                weight = bind(layer)["weight"]
                parts.append(exported.sizes(weight)[0].scaled(weight.meta["val"].element_size()))
    return total(parts)


def peaks(analysis: Analysis) -> tuple[Polynomial, ...]:
    """Return the bytes of activations alive during each call that may be the peak, per sample.

    A value is alive from the call that makes it to the last one that reads it. Views and
    element-wise operators computed in place need no memory of their own. Constants aren't
    counted; inputs are.
    """
    exported = Exported(analysis)
    place: dict[fx.Node, fx.Node] = {}
    nodes = [
        n
        for n in analysis.module.graph.nodes
        if n.op in ("placeholder", "call_function")
        and n not in analysis.constant_calls
        and isinstance(analysis.layouts.get(n), tuple)
    ]
    for node in nodes:
        source = next((n for n in node.all_input_nodes if n in place), None)
        shared = source is not None and (
            exported.is_free(node) or (node.target in ACTIVATIONS and len(source.users) == 1)
        )
        place[node] = place[source] if shared and source is not None else node
    order = {node: index for index, node in enumerate(nodes)}
    last = dict.fromkeys(place.values(), 0)
    for node in nodes:
        end = max((order.get(user, len(nodes)) for user in node.users), default=order[node])
        last[place[node]] = max(last[place[node]], end, order[node])
    found: list[Polynomial] = []
    for index, node in enumerate(nodes):
        alive = [n for n in last if order[n] <= index <= last[n]]
        if place[node] is node:
            batch = analysis.costs.batch
            found.append(total(exported.bytes(n).scaled(1 / batch) for n in alive))
    return _undominated(found)


def _undominated(parts: Sequence[Polynomial]) -> tuple[Polynomial, ...]:
    """Leave out polynomials that are never the largest; no coefficient is negative."""
    kept: list[Polynomial] = []
    for part in sorted(parts, key=lambda p: -sum(p.terms.values())):
        if not any(
            all(other.terms.get(k, 0.0) >= v for k, v in part.terms.items()) for other in kept
        ):
            kept.append(part)
    return tuple(kept) or (Polynomial.constant(0),)
