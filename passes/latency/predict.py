"""Predict the latency of a network from the widths of its groups, by a table of measured kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune.axes.polynomial import Polynomial, total
from graphprune.errors import MismatchError
from graphprune.passes.solver import Factor
from graphprune.passes.solver.cost_tables import fitting
from graphprune.plan.latency_table import LatencyTable

from .kernel_calls import KernelCall, Workload, runs_with

__all__ = ["Latency"]

_CELLS = 4_000_000
"""Most entries of one cost table; a kernel whose width is a sum of many groups would need more."""


@dataclass(frozen=True)
class Latency:
    """Predicted latency of a run in seconds, as a function of the widths of the groups.

    Attributes:
        work: the operators of the dense program.
        table: measured seconds of each kernel.
        lenient: estimate the time of kernels that the table lacks by what they write. Those that run
            only where a branch is gone always are.

    Raises:
        MismatchError: if the table lacks one of the kernels.
    """

    work: Workload
    table: LatencyTable
    lenient: bool = False

    def __post_init__(self) -> None:
        needed = {o.kernel.key for o in self.work.operators if not (o.gone or self.lenient)}
        missing = needed - set(self.table.kernels)
        if missing:
            raise MismatchError(
                f"the latency table lacks {len(missing)} of this model's operators, such as "
                f"{min(missing)}",
                hint="make a table of this model: graphprune profile",
            )

    def at(self, widths: Sequence[int] | NDArray[np.int64]) -> float:
        """Predict the seconds of a run when group ``g`` keeps ``widths[g]`` channels."""
        parts = [
            float(self._when_run(o, {g: np.array(widths[g]) for g in _scope(o)}))
            for o in self.work.operators
        ]
        return self.table.constant + self.table.scale * (sum(parts) + self._others.at(widths))

    @cached_property
    def _others(self) -> Polynomial:
        """Seconds of the operators without a kernel."""
        table, work = self.table, self.work
        return total([work.bytes.scaled(table.per_byte), work.macs.scaled(table.per_mac)])

    def _when_run(
        self, operator: KernelCall, axes: Mapping[int, NDArray[np.int64]]
    ) -> NDArray[np.float64]:
        """Return the seconds of an operator at widths of its groups, 0 where it doesn't run."""
        sizes = [
            np.asarray(
                sum(
                    c * math.prod(axes[g].astype(np.float64) for g in key)
                    for key, c in p.terms.items()
                )
            )
            for p in (*operator.widths, operator.share)
        ]
        share = sizes.pop()
        runs = math.prod(axes[g] > 0 for g in operator.kept)
        if operator.gone:
            runs = runs * (1 - math.prod(axes[g] > 0 for g in operator.gone))
        return np.asarray(self._seconds(operator, sizes) * share * runs)

    def _seconds(
        self, operator: KernelCall, widths: Sequence[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        kernel = self.table.kernels.get(operator.kernel.key)
        if kernel is None:
            return self._per_channel(operator) * widths[-1]
        whole = [np.maximum(np.rint(w).astype(np.int64), 1) for w in widths]
        return kernel.at(*whole)

    def _per_channel(self, operator: KernelCall) -> float:
        """Estimate the seconds of a kernel without an entry, for each unit of its last width, by what it writes."""
        kernel = operator.kernel
        values = kernel.channels * math.prod(size or 1 for size in kernel.shape)
        return 4 * self.table.per_byte * values

    def fast(
        self, group: int, dense: NDArray[np.int64], candidates: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the candidate widths of a group that are faster than every wider one, other groups dense."""
        total_seconds = np.zeros(len(candidates))
        for operator in self.work.operators:
            if group in (scope := _scope(operator)):
                axes = {g: candidates if g == group else dense[g : g + 1] for g in scope}
                total_seconds += self._when_run(operator, axes)
        later = np.minimum.accumulate(total_seconds[::-1])[::-1]
        return candidates[total_seconds < np.append(later[1:], np.inf)]

    def is_exact(self, widths: Sequence[NDArray[np.int64]]) -> bool:
        """Whether `factors` give the latency exactly, and not only nearly."""
        return all(self._cells(o, widths) <= _CELLS for o in self.work.operators)

    @staticmethod
    def _cells(operator: KernelCall, widths: Sequence[NDArray[np.int64]]) -> int:
        return math.prod(len(widths[g]) for g in _scope(operator))

    def factors(self, widths: Sequence[NDArray[np.int64]]) -> tuple[list[Factor], Polynomial]:
        """Return the latency as cost tables over candidate widths, plus a polynomial in the widths.

        A kernel whose table would have too many entries, where its width is a sum over many
        groups, is replaced by the nearest function ``a + b x + c y + d x y`` of its widths, which
        is a polynomial in those of the groups. Then the sum is no longer exact, see `at`.
        """
        tables: list[Factor] = []
        parts = [Polynomial.constant(self.table.constant), self._others.scaled(self.table.scale)]
        for call in self.work.operators:
            operator = _with_few_leads(call, widths)
            if self._cells(operator, widths) <= _CELLS:
                tables.append(self._factor(operator, _scope(operator), widths))
            else:
                parts.append(
                    self._bilinear(operator).scaled(self.table.scale)
                    * operator.share
                    * runs_with(operator.kept, operator.gone)
                )
        return tables, total(parts)

    def _factor(
        self, operator: KernelCall, scope: tuple[int, ...], widths: Sequence[NDArray[np.int64]]
    ) -> Factor:
        axes = dict(zip(scope, np.ix_(*(widths[g] for g in scope)), strict=True))
        shape = tuple(len(widths[g]) for g in scope)
        seconds = np.broadcast_to(self._when_run(operator, axes), shape)
        return Factor(scope, self.table.scale * seconds)

    def _bilinear(self, operator: KernelCall) -> Polynomial:
        kernel = self.table.kernels.get(operator.kernel.key)
        if kernel is None:
            return operator.widths[-1].scaled(self._per_channel(operator))
        grid = kernel.even
        points = np.stack([a.ravel() for a in np.meshgrid(*grid.axes, indexing="ij")])
        terms = [np.ones(points.shape[1]), *points]
        if len(points) == 2:
            terms.append(points[0] * points[1])
        found, *_ = np.linalg.lstsq(np.stack(terms, 1), np.asarray(grid.seconds), rcond=None)
        parts = [Polynomial.constant(float(found[0]))]
        parts += [p.scaled(float(c)) for p, c in zip(operator.widths, found[1:], strict=False)]
        if len(operator.widths) == 2:
            parts.append((operator.widths[0] * operator.widths[1]).scaled(float(found[3])))
        return total(parts)


def _scope(operator: KernelCall) -> tuple[int, ...]:
    """Return the groups that the time of a kernel depends on."""
    return tuple(sorted({*_sizes(operator), *operator.kept, *operator.gone}))


def _sizes(operator: KernelCall) -> set[int]:
    return {g for p in (*operator.widths, operator.share) for key in p.terms for g in key}


def _with_few_leads(operator: KernelCall, widths: Sequence[NDArray[np.int64]]) -> KernelCall:
    """Leave out groups that must be kept for a kernel to run, if a table over them all has too many entries."""
    scope = {*_sizes(operator), *operator.gone}
    return replace(operator, kept=fitting([len(w) for w in widths], scope, operator.kept))
