"""Describe what an analysis found, as plain data for people and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from graphprune.analysis.branch_costs import costs_left
from graphprune.analysis.frozen import frozen, operator_of, unknown_operators
from graphprune.ir.nodes import source_line

from .report import Size

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis
    from graphprune.analysis.frozen import Frozen
    from graphprune.axes.polynomial import Polynomial

__all__ = ["FORMAT", "GroupView", "Inspection", "describe", "size", "unknown"]

FORMAT = "graphprune.inspect/1"


@dataclass(frozen=True)
class GroupView:
    """One group of coupled channels.

    Attributes:
        id: its name.
        width: how many channels it has.
        macs_share: share of the dense MACs that shrink when the group does. A convolution
            counts for the groups on both of its sides, so these don't add up to 1.
        axes: parameter axes it lies in, ``name:dim``.
        inexact: operators whose statistics over it zero parameters don't silence; it is a group
            only with ``allow_inexact``.
        goes_with: the groups that go where this one goes whole, itself included; empty where it can't.
        stays: why it can't go whole; ``""`` where it can.
    """

    id: str
    width: int
    macs_share: float
    axes: tuple[str, ...]
    inexact: tuple[str, ...]
    goes_with: tuple[str, ...] = ()
    stays: str = ""


@dataclass(frozen=True)
class Inspection:
    """What is known of a model before anything is decided.

    Every number that ``graphprune inspect`` prints is a field of this.

    Attributes:
        model: its class.
        dense: what it costs.
        flops: twice the MACs.
        prunable_params: share of the parameters that lie in a group.
        prunable_macs: share of the MACs that a group can shrink.
        groups: in model order.
        frozen: channels that can't be cut and why; see ``analysis.frozen.Frozen``.
        unknown_operators: calls without a rule: ``operator``, ``where`` and ``macs_share``.
        data_sizes: sizes that depend on values, as one run on the example inputs gave them:
            ``operator`` and ``where`` of the call that makes each, and ``size``.
        notes: what the user should know.
    """

    model: str
    dense: Size
    flops: float
    prunable_params: float
    prunable_macs: float
    groups: tuple[GroupView, ...]
    frozen: tuple[Mapping[str, Any], ...]
    unknown_operators: tuple[Mapping[str, Any], ...]
    data_sizes: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """Write one JSON document with a ``format`` key."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=2) + "\n"


def describe(analysis: Analysis, model: str) -> Inspection:
    """Describe what an analysis found.

    Args:
        analysis: of the dense program.
        model: name to show.
    """
    widths = analysis.widths.tolist()
    costs = analysis.costs
    dense = size(analysis, widths)
    entries = frozen(analysis)
    groups = tuple(
        GroupView(
            group.id,
            group.width,
            _share(costs.macs, widths, number),
            tuple(f"{o.tensor}:{o.dim}" for o in group.occurrences),
            tuple(dict.fromkeys(map(operator_of, analysis.inexact.get(group.id, ())))),
            _branch(analysis, number),
            "" if _branch(analysis, number) else analysis.removable.reasons.get(number, ""),
        )
        for number, group in enumerate(analysis.groups)
    )
    return Inspection(
        model=model,
        dense=dense,
        flops=2 * dense.macs,
        prunable_params=_share(costs.params, widths),
        prunable_macs=_share(costs.macs, widths),
        groups=groups,
        frozen=tuple(asdict(f) for f in entries),
        unknown_operators=unknown(analysis, entries),
        data_sizes=tuple(asdict(each) for each in analysis.data_sizes.measured.values()),
        notes=analysis.data_sizes.notes,
    )


def _branch(analysis: Analysis, number: int) -> tuple[str, ...]:
    branch = analysis.removable.branch_of(number)
    return tuple(analysis.groups[n].id for n in sorted(branch.groups)) if branch else ()


def size(analysis: Analysis, widths: Sequence[int]) -> Size:
    """Compute what the program costs at some widths, one for each group."""
    names = ("macs", "params", "weight_bytes", "activation_bytes")
    gone = [number for number, width in enumerate(widths) if not width]
    costs = costs_left(analysis, analysis.without(gone)) if gone else analysis.costs
    return Size(*(getattr(costs, name).at(widths) for name in names))


def unknown(analysis: Analysis, entries: Sequence[Frozen]) -> tuple[Mapping[str, Any], ...]:
    """List calls without a rule, each with the share of the dense MACs that it locks."""
    found: dict[tuple[str, str], float] = {}
    for node in unknown_operators(analysis):
        found.setdefault((operator_of(node), source_line(node) or node.name), 0.0)
    for entry in entries:
        if entry.unknown and (key := (entry.operator, entry.where)) in found:
            found[key] = min(found[key] + entry.macs_share, 1.0)
    return tuple(
        {"operator": operator, "where": where, "macs_share": share}
        for (operator, where), share in found.items()
    )


def _share(cost: Polynomial, widths: Sequence[int], group: int | None = None) -> float:
    """Compute the share of a cost in the terms with a group, or with any group."""
    whole = cost.at(widths)
    parts = {
        key: value
        for key, value in cost.terms.items()
        if (bool(key) if group is None else group in key)
    }
    return type(cost)(parts).at(widths) / whole if whole else 0.0
