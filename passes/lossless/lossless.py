"""The pass that finds channels that go with no loss, and lets the layers that read them do without.

The program keeps its sizes; in the result, nothing depends on the channels that were found, so cutting
them changes nothing. The proof compares with the dense program as it was given, in float64: at most
1e-9. Sums of weights may not fit the weights' own type; what rounding them costs is measured beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.cut.cut import Cut
from graphprune.errors import MismatchError, VerifyError
from graphprune.ir.program import unlift
from graphprune.ir.relift import relift
from graphprune.ir.tensors import set_tensor
from graphprune.ops.float64 import Float64Interpreter, Tensors
from graphprune.pipeline import State, TransformPass
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import leading_size, random_inputs, size_growths

from .propagate import find_relations
from .readers import Reader, Readers
from .redundant import REASONS, Redundant

__all__ = ["Lossless", "verify_lossless"]


@dataclass(frozen=True)
class Lossless(TransformPass):
    """Free the program of channels that the weights prove to be redundant.

    Given: a program and its analysis. Result: a program of the same sizes that computes the same, in
    which the channels that were found are read by nothing. If there are none, the program itself.

    Attributes:
        wanted: group id -> channels to free, by a plan that was made before; all others stay as
            they are. ``None``: all that are found.
    """

    name: ClassVar[str] = "lossless"
    needs = (Analysis,)
    gives = (Redundant,)
    wanted: Mapping[str, tuple[int, ...]] | None = None

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Redundant]]:
        """Find the channels, change what reads them, and prove that the function is the same.

        Raises:
            MismatchError: if a channel that a plan wants freed isn't redundant in these weights.
            VerifyError: if the result computes something else.
        """
        analysis = state[Analysis]
        finder = Readers(analysis, find_relations(analysis))
        channels: dict[str, tuple[int, ...]] = {}
        reasons: dict[str, Mapping[str, int]] = {}
        tensors: dict[str, torch.Tensor] = {}
        for group in analysis.groups:
            readers, gone = _best(finder, group)
            if self.wanted is not None:
                gone = _only(group, gone, self.wanted.get(group.id, ()))
            if not len(gone):
                continue
            for reader in readers:
                finder.fold(reader, gone, tensors)
            channels[group.id] = tuple(int(j) for j in gone)
            reasons[group.id] = _count(readers, gone)
        if not channels:
            return state.program, (Redundant({}, {}, state.program),)
        program = _stored(analysis, state.program, tensors)
        worst, batches = _compare(state.program, analysis.module, tensors)
        rounded, _ = _compare(state.program, unlift(program), {})
        found = Redundant(
            channels,
            reasons,
            state.program,
            tensors,
            max_error=worst,
            stored_error=rounded,
            batches=batches,
        )
        return program, (_judged(found),)


def verify_lossless(cut: Cut, program: ExportedProgram, found: Redundant) -> Redundant:
    """Compare a program, from which only redundant channels were cut, with the dense one.

    Args:
        cut: the cut.
        program: the cut program.
        found: the redundant channels.

    Returns:
        What was found, with the errors of the cut program.

    Raises:
        VerifyError: if it computes something else.
    """
    module = unlift(program)
    wide = {**cut.analysis.tensors, **found.tensors}
    exact = {**found.tensors, **cut.sliced(wide), **cut.baked_values(wide)}
    worst, batches = _compare(found.dense, module, exact)
    rounded, _ = _compare(found.dense, module, {})
    return _judged(replace(found, max_error=worst, stored_error=rounded, batches=batches))


def _best(finder: Readers, group: Group) -> tuple[list[Reader], NDArray[np.int64]]:
    """Return the readers of a group, and the channels that all of them can do without; one stays."""
    best: tuple[list[Reader], NDArray[np.int64]] = [], np.zeros(0, dtype=np.int64)
    for several in (False, True):
        readers = finder.of(group, several=several)
        if not readers:
            continue
        gone = readers[0].spared
        for reader in readers[1:]:
            gone = np.intersect1d(gone, reader.spared)
        gone = gone[1:] if len(gone) == group.width else gone
        if len(gone) > len(best[1]):
            best = readers, gone
    return best


def _only(group: Group, gone: NDArray[np.int64], wanted: Sequence[int]) -> NDArray[np.int64]:
    missing = np.setdiff1d(np.asarray(wanted, dtype=np.int64), gone)
    if len(missing):
        raise MismatchError(
            f"the plan removes channels of {group.id} as redundant that aren't so in these weights: "
            f"{', '.join(map(str, missing[:5]))}",
            hint="a lossless plan holds for the checkpoint it was made for; make one for this one",
        )
    return np.asarray(wanted, dtype=np.int64)


def _count(readers: Sequence[Reader], gone: NDArray[np.int64]) -> dict[str, int]:
    """Count the channels by the least simple reason that any reader needs."""
    level = np.zeros(len(gone), dtype=np.int64)
    for reader in readers:
        relations = reader.relations
        terms, shifted = (relations.mix != 0).sum(1), relations.offset.any(1)
        needed = np.where(terms > 1, 4, np.where(terms == 1, 3, 1 + shifted))
        here = np.zeros(relations.width, dtype=np.int64)
        here[relations.gone] = needed
        here[reader.unread] = 0
        level = np.maximum(level, here[gone])
    return {name: int((level == n).sum()) for n, name in enumerate(REASONS)}


def _stored(analysis: Analysis, program: ExportedProgram, tensors: Tensors) -> ExportedProgram:
    """Return the program with some tensors replaced, in the types of the old ones."""
    if not tensors:
        return program
    module = unlift(program)
    made: dict[int, torch.Tensor] = {}
    for name, value in tensors.items():
        old = analysis.tensors[name]
        if id(old) not in made:
            new = value.to(old.device, old.dtype)
            made[id(old)] = (
                torch.nn.Parameter(new, requires_grad=old.requires_grad)
                if isinstance(old, torch.nn.Parameter)
                else new
            )
        set_tensor(module, name, made[id(old)])
    return relift(module, program)


def _compare(
    dense: ExportedProgram, module: fx.GraphModule, tensors: Tensors
) -> tuple[float, tuple[int, ...]]:
    """Run a graph and the dense program on random inputs of all sizes: the largest error, the batches."""
    worst, batches, old = 0.0, list[int](), unlift(dense)
    for grow in size_growths(dense):
        inputs = random_inputs(dense, grow, seed=grow)
        batches.append(leading_size(inputs))
        got = run(Float64Interpreter(module, tensors), inputs)
        worst = max(worst, error(got, run(Float64Interpreter(old), inputs)))
    return worst, tuple(dict.fromkeys(batches))


def _judged(found: Redundant) -> Redundant:
    if not found.max_error <= found.tolerance:
        raise VerifyError(
            f"the model without redundant channels differs from the dense one by "
            f"{found.max_error:.1e} (tolerance {found.tolerance:.0e})",
            hint="this is a bug in graphprune: please report the model; nothing was written",
        )
    return found
