"""The pass that merges removed channels into kept ones that compute nearly the same, without data.

A removed channel ``r`` whose filters are nearly ``a`` times those of a kept one ``k`` carries
nearly ``a`` times its values, so the layers that read it can read ``k`` instead: ``W[:, k] += a
W[:, r]``. With ``u`` the weights and biases of all layers that produce a channel, BatchNorm
folded in, ``a = <u_r, u_k> / |u_k|^2`` leaves the least error, ``|u_r|^2 (1 - cos^2)``. A scale
passes only through calls that are positively homogeneous, such as ReLU, so it must be positive.
Behind other calls, or where channels have parameters of their own besides, values are equal
only if everything about the channels is: there ``a`` is 1, and the error the sum of
``|p_r - p_k|^2 / |p_r|^2`` over all that the channels hold. A channel is merged only where the
error is below that of dropping it.

Source: Wang et al. 2025 (*Forget the data and fine-tuning! Just fold the network to compress*,
ICLR 2025, arXiv:2502.10216), who cluster the producers' rows and let consumers take the sums.
Here the kept channels, which the plan has chosen, are the clusters' centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.cut.cut import Cut
from graphprune.ir.nodes import bind
from graphprune.ir.program import state, unlift
from graphprune.ir.relift import relift
from graphprune.ir.tensors import set_tensor
from graphprune.ops import traits_of
from graphprune.ops.float64 import to_float64
from graphprune.passes.decision import Decision
from graphprune.passes.score.interpreter import rows_of
from graphprune.passes.score.producers import FilterFinder
from graphprune.pipeline import Pipeline, RunFact, State, TransformPass
from graphprune.verify.oracle import Verdict

from .homogeneity import non_homogeneous_groups
from .match_channels import by_angle, by_distance
from .prune import Prune

__all__ = ["Merge", "Merged", "merge", "with_rows_added"]

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Merged(RunFact):
    """Number of removed channels that were merged into kept ones, by group id."""

    channels: Mapping[str, int]


@dataclass(frozen=True)
class Merge(TransformPass):
    """Prune, and merge removed channels into kept ones.

    Given: a program, its analysis and a decision. Result: the program as `Prune` makes it, with
    that pass's verdict, and then other weights in the layers that read merged channels. A channel
    that resembles no kept one is dropped, as `Prune` does.
    """

    name: ClassVar[str] = "merge"
    needs = (Analysis, Decision)
    gives = (Cut, Verdict, Merged)

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Cut, Verdict, Merged]]:
        """Cut the program, verify it, and merge removed channels.

        Raises:
            MismatchError, VerifyError: as `Prune`.
        """
        pruned = Pipeline((Prune(),), given=self.needs).run(state)
        cut = pruned[Cut]
        tensors, merged = merge(cut, cut.analysis.tensors)
        return _with_tensors(pruned.program, cut, tensors), (cut, pruned[Verdict], merged)


def merge(cut: Cut, tensors: Tensors) -> tuple[dict[str, torch.Tensor], Merged]:
    """Merge removed channels into kept ones, group by group in model order.

    Args:
        cut: which channels are removed from the dense program.
        tensors: the dense program's tensors by name; not changed.

    Returns:
        All tensors by name; those that contract removed channels have other values, and zeros
        at the removed rows. Tensors that were one object stay one object. And how many channels
        were merged.
    """
    analysis = cut.analysis
    filters = FilterFinder(analysis)
    inhomogeneous = non_homogeneous_groups(analysis, filters.folded)
    current = _MergedTensors(analysis, tensors)
    counts: dict[str, int] = {}
    for group in analysis.groups:
        kept = cut.channels(group)
        gone = np.setdiff1d(np.arange(group.width), kept)
        if not len(gone):
            continue
        source, factor = np.zeros(len(gone), dtype=np.int64), np.zeros(len(gone))
        if len(kept) and _may_change(analysis, group):
            found, others = filters.of(group, current.tensors)
            joined = [torch.cat([layer.weights, layer.biases], 1) for layer in found]
            if joined and not others and group.id not in inhomogeneous:
                source, factor = by_angle(torch.cat(joined, 1), kept, gone)
            elif joined or others:
                source, factor = by_distance([*joined, *others], kept, gone)
        counts[group.id] = int((factor > 0).sum())
        current.move(group, gone, source, factor)
    return current.tensors, Merged(counts)


class _MergedTensors:
    """All tensors, with the groups so far merged."""

    def __init__(self, analysis: Analysis, tensors: Tensors) -> None:
        self.tensors = dict(tensors)
        self._analysis = analysis

    def move(
        self,
        group: Group,
        gone: NDArray[np.int64],
        source: NDArray[np.int64],
        factor: NDArray[np.float64],
    ) -> None:
        """Add weights that read removed channels, scaled, to those that read kept ones; then zero them."""
        done: set[tuple[int, int]] = set()
        for node, facts in self._analysis.facts.items():
            for contraction in facts.contractions:
                operand = contraction.operand(bind(node))
                rows = rows_of(self._analysis.labels.resolve(contraction.axis), group)
                if rows is None or operand.op != "get_attr":
                    continue
                old = self._analysis.tensors[str(operand.target)]
                if (id(old), contraction.dim) not in done:
                    done.add((id(old), contraction.dim))
                    mix = np.zeros((len(gone), group.width))
                    mix[np.arange(len(gone)), source] = factor
                    self._replace(old, str(operand.target), contraction.dim, rows, gone, mix)

    def _replace(
        self,
        old: torch.Tensor,
        name: str,
        dim: int,
        rows: NDArray[np.int64],
        gone: NDArray[np.int64],
        mix: NDArray[np.float64],
    ) -> None:
        value = self.tensors[name].detach()
        merged = with_rows_added(to_float64(value), dim, rows, gone, mix).to(value.dtype)
        new = (
            torch.nn.Parameter(merged, requires_grad=old.requires_grad)
            if isinstance(old, torch.nn.Parameter)
            else merged
        )
        for other, tensor in self._analysis.tensors.items():
            if tensor is old:
                self.tensors[other] = new


def with_rows_added(
    weight: torch.Tensor,
    dim: int,
    rows: NDArray[np.int64],
    gone: NDArray[np.int64],
    mix: NDArray[np.float64],
) -> torch.Tensor:
    """Add the rows of removed channels to those of kept ones, and set them to zero.

    Args:
        weight: a weight that is contracted over the channels, float64.
        dim: the dimension.
        rows: ``[width, m]``, where the channels lie on it.
        gone: the removed channels.
        mix: ``[len(gone), width]``, by what each is multiplied for each kept one.
    """
    wide = weight.movedim(dim, 0).clone()
    factors = torch.from_numpy(mix).to(wide)
    for index in rows.T:
        removed = wide[torch.from_numpy(index[gone])]
        mixed = factors.T @ removed.reshape(len(gone), -1)
        wide.index_add_(
            0,
            torch.from_numpy(index).to(wide.device),
            mixed.reshape(-1, *removed.shape[1:]),
        )
    wide[torch.from_numpy(rows[gone].reshape(-1))] = 0
    return wide.movedim(0, dim)


def _may_change(analysis: Analysis, group: Group) -> bool:
    """Whether all weights that contract the group are stored, and only read so: not as the rows of an embedding too."""
    places = [
        (c.operand(bind(node)), c.dim)
        for node, facts in analysis.facts.items()
        for c in facts.contractions
        if rows_of(analysis.labels.resolve(c.axis), group) is not None
    ]
    return all(weight.op == "get_attr" for weight, _ in places) and all(
        _is_contracted(analysis, reader, other, dim)
        for weight, dim in dict.fromkeys(places)
        for other in analysis.module.graph.find_nodes(op="get_attr")
        if analysis.tensors.get(other.target) is analysis.tensors[str(weight.target)]
        for reader in other.users
    )


def _is_contracted(analysis: Analysis, reader: fx.Node, weight: fx.Node, dim: int) -> bool:
    """Whether a call does nothing else with a weight than to contract it over a dimension, or asks for its size."""
    if traits_of(reader).metadata:
        return True
    facts = analysis.facts.get(reader)
    return facts is not None and any(
        c.operand(bind(reader)) is weight and c.dim == dim for c in facts.contractions
    )


def _with_tensors(small: ExportedProgram, cut: Cut, tensors: Tensors) -> ExportedProgram:
    """Return the cut program with the values of dense-shaped tensors, sliced."""
    module = unlift(small)
    present = state(module)
    sliced, dense = {**tensors, **cut.sliced(tensors)}, cut.analysis.tensors
    changed = {n: t for n, t in tensors.items() if t is not dense[n] and n in present}
    for name in changed:
        set_tensor(module, name, sliced[name])
    return relift(module, small) if changed else small
