"""What runs of a network from which branches may go whole, as a function of the widths of its groups.

A branch takes its operators along, and whatever was fused into them has to run on its own: without the last
convolution of a residual block, the sum behind it is an operator. So what runs of the dense network is
compared with what runs without each branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.removable import Branch
from graphprune.axes.polynomial import Polynomial

from .kernel_calls import KernelCall, OtherCall, Workload, runs_with
from .operators import workload

__all__ = ["branch_workload"]

Call = TypeVar("Call", KernelCall, OtherCall)


def branch_workload(analysis: Analysis, batch: int = 1) -> Workload:
    """List the operators of a program, each with the branches that must be there, or gone, for it to run.

    That is exact where no two branches that are gone share an operator; ``workload`` is exact for what is
    left without given groups.

    Args:
        analysis: the analysis of the dense program.
        batch: samples per run, where the program's batch is dynamic.
    """
    branches = analysis.removable.branches
    dense = workload(analysis, batch)
    left = [workload(analysis, batch, branch.left) for branch in branches]
    kernels = _conditions(branches, dense.operators, [each.operators for each in left])
    others = _conditions(branches, dense.rest, [each.rest for each in left])
    return Workload(
        tuple(replace(call, kept=kept, gone=gone) for call, kept, gone in kernels),
        tuple(_times(call, runs_with(kept, gone)) for call, kept, gone in others),
    )


def _conditions(
    branches: Sequence[Branch], dense: Sequence[Call], left: Sequence[Sequence[Call]]
) -> list[tuple[Call, tuple[int, ...], tuple[int, ...]]]:
    """List all calls, each with the leads that must be kept, and those of which one must be gone."""
    runs = [set(map(_key, calls)) for calls in left]
    here = {_key(call): call for call in dense}
    new = {_key(call): call for calls in left for call in calls if _key(call) not in here}
    found: list[tuple[Call, tuple[int, ...], tuple[int, ...]]] = []
    for key, call in here.items():
        kept = _leads(b for b, own in zip(branches, runs, strict=True) if key not in own)
        found.append((call, kept, ()))
    for key, call in new.items():
        gone = [b for b, own in zip(branches, runs, strict=True) if key in own]
        kept = _leads(b for b in branches if b not in gone and b.takes(call.node))
        found.append((call, kept, _leads(gone)))
    return found


def _key(call: KernelCall | OtherCall) -> tuple[fx.Node, str]:
    return call.node, call.kernel.key if isinstance(call, KernelCall) else ""


def _leads(branches: Iterable[Branch]) -> tuple[int, ...]:
    return tuple(branch.lead for branch in branches)


def _times(call: OtherCall, runs: Polynomial) -> OtherCall:
    """Multiply what a call costs by a polynomial."""
    return OtherCall(call.node, call.bytes * runs, call.macs * runs)
