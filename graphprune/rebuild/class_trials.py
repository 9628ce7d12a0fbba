"""Trial cuts of a module: whether its code follows a cut of some groups, with a memory of the outcomes.

Most code that can't follow fails by the shapes alone, which the meta device tells in no time; what passes there is
compared with the cut graph in float64.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.errors import OptionError, VerifyError, first_line
from graphprune.ir.assemble_program import flat_outputs
from graphprune.ir.evaluation_mode import evaluation_mode
from graphprune.ir.forward_errors import FORWARD_ERRORS, user_line
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import call_arguments
from graphprune.ir.sizes import is_data_dependent
from graphprune.ops.float64 import Tensors
from graphprune.verify.inputs import native_inputs
from graphprune.verify.perturb import perturbed_tensors

from .class_comparison import ClassComparison
from .computed_weights import stored_weights
from .shrink_module import followings, shrink_module

if TYPE_CHECKING:
    from .group_kinds import Unit

__all__ = ["ClassTrials", "shared_parts"]

logger = logging.getLogger(__name__)

ROUNDS = 2
"""Number of cuts, to unlike widths, that a class has to follow for a trial to succeed."""

LARGE = 1e7
"""Multiply-adds, or stored numbers, from which on a run on the meta device is the faster one."""


class ClassTrials:
    """Trial cuts of one module.

    Args:
        comparison: of the module with cut graphs.
        units: groups that are tried, each with those that keep as many channels, or equal shares.
        tell: called with the number of each trial.
    """

    def __init__(
        self, comparison: ClassComparison, units: Sequence[Unit], tell: Callable[[str], Any]
    ) -> None:
        self._comparison, self.analysis, self._tell = comparison, comparison.analysis, tell
        self._rounds = [_counts(comparison.analysis, units, number) for number in range(ROUNDS)]
        self._shapes = _Shapes.of(comparison)
        self._values: Tensors | None = None
        self._fitting: dict[frozenset[Unit], bool] = {}
        self._same: dict[frozenset[Unit], bool] = {}

    @property
    def tells_shapes(self) -> bool:
        """Whether shapes can be told without comparing values."""
        return self._shapes is not None

    def begin(self) -> None:
        """Compare the module with the graph with nothing cut.

        Raises:
            OptionError: if even that differs.
        """
        try:
            self._compare(Cut.keeping(self.analysis, {}))
        except (*FORWARD_ERRORS, VerifyError) as problem:
            raise OptionError(
                f"the model's class can't be kept: {first_line(problem)}, before anything is cut",
                where=user_line(problem),
                hint="if the class needn't come back, a GraphModule does",
                options=("keep_class",),
            ) from problem

    def fits(self, units: Sequence[Unit]) -> bool:
        """Whether the class runs at the shapes of a cut of these groups; true where that can't be told."""
        wanted = frozenset(units)
        if self._shapes is None or not wanted:
            return True
        if wanted not in self._fitting:
            self._count()
            self._fitting[wanted] = all(
                (cut := self._cut(units, counts)) is not None and self._shapes.fit(cut)
                for counts in self._rounds
            )
        return self._fitting[wanted]

    def succeeds(self, units: Sequence[Unit]) -> bool:
        """Whether the class computes what the graph does after a cut of these groups."""
        wanted = frozenset(units)
        if not self.fits(units):
            return False
        if wanted not in self._same:
            self._count()
            rounds = self._rounds[:1] if self.tells_shapes else self._rounds
            self._same[wanted] = all(self._follows(units, counts) for counts in rounds)
        return self._same[wanted]

    def _count(self) -> None:
        self._tell(f"class trial {len(self._fitting) + len(self._same) + 1}")

    def _follows(self, units: Sequence[Unit], counts: Mapping[int, int]) -> bool:
        cut = self._cut(units, counts)
        if cut is None:
            return False
        try:
            self._compare(cut)
        except (*FORWARD_ERRORS, VerifyError):
            return False
        return True

    def _cut(self, units: Sequence[Unit], counts: Mapping[int, int]) -> Cut | None:
        """Make the cut of a trial; ``None`` if the class computes a weight that the cut stores."""
        keep: dict[str, Any] = {}
        for unit in units:
            parts = shared_parts(self.analysis, unit)
            step = self.analysis.groups[min(unit)].width // parts
            left = min(max(round(counts[min(unit)] / step), 1), parts)
            for number in unit:
                group = self.analysis.groups[number]
                order = np.random.default_rng(number).permutation(group.width)
                keep[group.id] = np.sort(order[: left * (group.width // parts)])
        cut = Cut.keeping(self.analysis, keep)
        return None if stored_weights(self._comparison.model, cut) is None else cut

    def _compare(self, cut: Cut) -> None:
        if self._values is None:
            self._values = perturbed_tensors(self.analysis, self.analysis.tensors, seed=1)
        values = {**self._values, **cut.sliced(self._values), **cut.baked_values(self._values)}
        expected = self._comparison.expected(cut, cut.module, values, 0)
        self._comparison.first(cut, lambda follow: self._comparison.match_of(cut, expected, follow))


class _Shapes:
    """Runs a module for the shapes alone: on the meta device, or as it is where its code needs values."""

    def __init__(self, comparison: ClassComparison, *, meta: bool) -> None:
        self._model: nn.Module = comparison.model
        self._plain = comparison.plain
        program = comparison.program
        inputs = native_inputs(program, 0, seed=0)
        if meta:
            self._model = copy.deepcopy(comparison.model).to("meta").eval()
            inputs = [x.to("meta") if isinstance(x, torch.Tensor) else x for x in inputs]
        self._args, self._kwargs = call_arguments(program, inputs)
        self._known = _known_sizes(program)
        self._expected = self._run(self._model)

    @classmethod
    def of(cls, comparison: ClassComparison) -> _Shapes | None:
        """Prepare it; ``None`` for code that doesn't run on such inputs."""
        for meta in (True, False) if _is_large(comparison) else (False,):
            try:
                return cls(comparison, meta=meta)
            except FORWARD_ERRORS as problem:
                logger.debug("no shapes of %s: %s", "the meta device" if meta else "a run", problem)
        return None

    def fit(self, cut: Cut) -> bool:
        """Whether the cut module runs and gives outputs of the old shapes, with any of what may follow."""
        for follow in followings(self._model, cut, scales=False):  # scales change no shapes
            try:
                small = shrink_module(self._model, cut, None, self._plain, follow)
                if self._run(small) == self._expected:
                    return True
            except FORWARD_ERRORS:
                continue
        return False

    def _run(self, module: nn.Module) -> list[tuple[int | None, ...]]:
        with evaluation_mode(module), torch.no_grad():
            outputs = pytree.tree_leaves(module(*self._args, **self._kwargs))
        shapes = [tuple(x.shape) for x in outputs if isinstance(x, torch.Tensor)]
        if list(map(len, shapes)) != list(map(len, self._known)):
            return [*shapes]
        return [
            tuple(n if known else None for n, known in zip(shape, each, strict=True))
            for shape, each in zip(shapes, self._known, strict=True)
        ]


def _known_sizes(program: ExportedProgram) -> list[list[bool]]:
    """Tell for each size of each tensor that a program gives whether it depends on no value, so that no cut changes it."""
    outputs = [n.meta["val"] for n in flat_outputs(program.graph) if isinstance(n, fx.Node)]
    return [
        [not is_data_dependent(size) for size in value.shape]
        for value in outputs
        if isinstance(value, torch.Tensor)
    ]


def _is_large(comparison: ClassComparison) -> bool:
    """Whether a run takes longer than one on the meta device, where each call takes as long as any other."""
    analysis = comparison.analysis
    stored = sum(tensor.numel() for tensor in analysis.tensors.values())
    return max(analysis.dense_macs, stored) > LARGE


def shared_parts(analysis: Analysis, unit: Unit) -> int:
    """Count the equal parts of which all groups of a unit consist; of groups of one width, their channels."""
    return math.gcd(*(analysis.groups[number].width for number in unit))


def _counts(analysis: Analysis, units: Sequence[Unit], number: int) -> dict[int, int]:
    """Choose how many channels each unit, by its first group, keeps in a round: three to eight tenths.

    Neighbours of one width keep unlike numbers, so that none fits by chance what must equal another. One alone is kept
    of two only: a single head, say, fits where several don't.
    """
    counts: dict[int, int] = {}
    earlier: Counter[int] = Counter()
    for unit in units:
        width = analysis.groups[unit[0]].width
        least = min(max(round(0.3 * width), 2), width - 1)
        choices = range(least, max(min(round(0.8 * width), width - 1), least) + 1)
        counts[unit[0]] = choices[
            (earlier[width] * max(len(choices) // 3, 1) + number) % len(choices)
        ]
        earlier[width] += 1
    return counts
