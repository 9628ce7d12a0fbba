"""Compare the user's module, cut, with the cut program: does its code compute the same at the new sizes?

The module is cut as ``shrink_module.py`` does it. Both run in float64, and where the module's code asks for its own
dtype, in that.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from graphprune.errors import VerifyError
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.nodes import is_continuous
from graphprune.ir.private_torch import HigherOrderOperator, pytree
from graphprune.ir.program import call_arguments, state
from graphprune.ops.float64 import Float64Interpreter, Float64Mode, Tensors, to_float64
from graphprune.verify.graph_runs import all_finite, error, run
from graphprune.verify.inputs import random_inputs
from graphprune.verify.oracle import TOLERANCE, CutRun
from graphprune.verify.perturb import perturbed_pair

from .own_precision import compare_in_own_precision
from .shrink_module import Following, find_tensor, followings, plain_tensors, shrink_module

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphprune.analysis.analyse import Analysis
    from graphprune.cut.cut import Cut

__all__ = ["ClassComparison", "ClassMatch"]

FLOAT64 = "float64"

MOST_BY_DTYPE = 1e-3
"""Largest relative error in float64 that a constant of another dtype may explain, such as an epsilon."""


@dataclass(frozen=True)
class ClassMatch:
    """How well a cut module agrees with a cut graph.

    Attributes:
        error: largest difference relative to the largest output.
        tolerance: the bound on it.
        precision: the dtype in which they were compared.
        follow: what of the module followed the cut.
    """

    error: float
    tolerance: float = TOLERANCE
    precision: str = FLOAT64
    follow: Following | None = None


@dataclass(frozen=True)
class Expected:
    """What a cut graph gives in one run, with which a cut module is compared.

    Attributes:
        graph: the cut one.
        tensors: values in place of its own, by name.
        grow: by how much symbolic sizes are larger.
        args: positional inputs.
        kwargs: those by name.
        outputs: flat.
    """

    graph: fx.GraphModule
    tensors: Tensors
    grow: int
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    outputs: Sequence[Any]


@dataclass(frozen=True)
class ClassComparison:
    """Compares the user's module, cut, with cut graphs: in float64, and where its code asks for its dtype, in its own.

    Attributes:
        model: the dense module.
        analysis: of the dense program.
        program: says what the inputs are.
    """

    model: nn.Module
    analysis: Analysis
    program: ExportedProgram

    @cached_property
    def _wide(self) -> nn.Module:
        """The module in float64 before it is cut, so that factors aren't rounded to its own precision."""
        wide = copy.deepcopy(self.model).double().eval()
        for tensor in itertools.chain(wide.parameters(), wide.buffers()):
            tensor.data = to_float64(tensor.data)  # complex ones, which double() leaves
        return wide

    @cached_property
    def plain(self) -> Mapping[str, Sequence[str]]:
        """Tensors of the program that are plain attributes: see ``plain_tensors``."""
        return plain_tensors(self.model, self.analysis)

    def match(self, cut: Cut, graph: fx.GraphModule, runs: Sequence[CutRun] = ()) -> ClassMatch:
        """Compare the cut module with the cut graph.

        Both run twice, as by the oracle: as they are, and with all parameters perturbed in a larger batch.

        Args:
            cut: what is removed.
            graph: the cut one.
            runs: of the oracle with this graph, which needn't be repeated.

        Returns:
            The worse of the two runs.

        Raises:
            VerifyError: if the two differ by more than the tolerance.
        """

        @cache
        def expected(grow: int) -> Expected:
            known = [r for r in runs if r.grow == grow and bool(r.tensors) == bool(grow)]
            if known:
                return self.expected(cut, graph, known[0].tensors, grow, known[0].outputs)
            tensors = perturbed_pair(cut, graph, seed=0)[1] if grow else {}
            return self.expected(cut, graph, tensors, grow)

        def both(follow: Following) -> ClassMatch:
            found = [self.match_of(cut, expected(grow), follow) for grow in (0, 1)]
            return max(found, key=lambda each: (each.tolerance, each.error))

        return self.first(cut, both)

    def first(self, cut: Cut, match: Callable[[Following], ClassMatch]) -> ClassMatch:
        """Compare with each of what may follow a cut, until the two agree.

        Raises:
            VerifyError: or what the module's code raises, as with the first.
        """
        failure: Exception | None = None
        for follow in followings(self.model, cut):
            try:
                return match(follow)
            except (*FORWARD_ERRORS, VerifyError) as problem:
                failure = failure or problem
        assert failure is not None
        raise failure

    def expected(
        self,
        cut: Cut,
        graph: fx.GraphModule,
        tensors: Tensors,
        grow: int,
        outputs: Sequence[Any] | None = None,
    ) -> Expected:
        """Run a cut graph in float64.

        Args:
            cut: what is removed.
            graph: the cut one.
            tensors: values in place of its own, by name. Constants in the module's code stay as they
                are, and so does everything if nothing finite comes of it.
            grow: by how much symbolic sizes are larger.
            outputs: of the graph with all these tensors, if they are known.

        Raises:
            VerifyError: if the graph can't be run so.
        """
        branches = [n for n in graph.graph.nodes if isinstance(n.target, HigherOrderOperator)]
        if branches:  # in a dispatch mode it would spoil what torch compiled for the user's module
            raise VerifyError(f"its code calls {branches[0].target}, which isn't run in float64")
        own = {
            name: value
            for name, value in tensors.items()
            if find_tensor(self.model, name) is not None or name in cut.baked.values()
        }
        inputs = random_inputs(self.program, grow, seed=grow)
        args, kwargs = call_arguments(self.program, inputs)
        found = outputs if len(own) == len(tensors) else None
        if found is None:
            found = run(Float64Interpreter(graph, own), inputs)
        # Where the noise made values infinite, these would hide differences.
        if own and not all_finite(found):
            own, found = {}, run(Float64Interpreter(graph), inputs)
        return Expected(graph, own, grow, args, kwargs, found)

    def match_of(self, cut: Cut, expected: Expected, follow: Following) -> ClassMatch:
        """Compare the cut module with one run of the cut graph.

        Args:
            cut: what is removed.
            expected: the run.
            follow: what of the module follows the cut.

        Raises:
            VerifyError: if the two differ by more than the tolerance.
        """
        tensors, stored = expected.tensors, state(expected.graph)
        values = {name: to_float64(tensor) for name, tensor in stored.items()}
        small = shrink_module(self._wide, cut, {**values, **tensors}, self.plain, follow)
        with torch.no_grad(), Float64Mode():
            got = pytree.tree_leaves(small(*expected.args, **expected.kwargs))
        if len(got) != len(expected.outputs):
            raise VerifyError("the module's outputs differ in number from the cut program's")
        worst = error(got, expected.outputs)
        if worst <= TOLERANCE:
            return ClassMatch(worst, follow=follow)
        if worst <= MOST_BY_DTYPE:
            kinds = {
                n: t.to(v.dtype) for n, v in stored.items() if (t := tensors.get(n)) is not None
            }
            small = shrink_module(self.model, cut, {**stored, **kinds}, self.plain, follow)
            own = compare_in_own_precision(
                small, expected.graph, tensors, self.program, expected.grow
            )
            if own.error <= own.tolerance:
                return ClassMatch(own.error, own.tolerance, _precision(self.program), follow)
        raise VerifyError(f"its code computes something else at the new sizes (error {worst:.1e})")


def _precision(program: ExportedProgram) -> str:
    """Name the dtypes that a program's outputs and weights have."""
    kinds = {t.dtype for t in program.state_dict.values() if is_continuous(t)}
    return " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds)) or "float32"
