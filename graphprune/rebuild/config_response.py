"""What changes in a model's program when a value of its config changes: widths of groups, and numbers in its code.

The model is built anew on the meta device and traced, and the two graphs are compared call by call. The sizes of
the dense graph are polynomials in the widths of its groups, so the sizes of the other graph say what the widths are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.axes.polynomial import Polynomial
from graphprune.errors import LoadError, OptionError, TraceError, first_line
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import call_arguments, unlift, user_inputs
from graphprune.ir.sizes import size_hint
from graphprune.ir.trace import trace
from graphprune.ops import passes_value_on

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from .configured import Configured

__all__ = ["Response", "Responses"]

_Size = tuple[Polynomial, int, str]
"""A size as a polynomial in the widths, what it is now, and where."""


@dataclass(frozen=True)
class _Unsolved:
    """A size that no widths give: where, before and after."""

    where: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"it changes {self.where} from {self.before} to {self.after}"


@dataclass(frozen=True)
class Response:
    """What a change of a config does: to widths and to numbers in the code, or what else it changes.

    Attributes:
        widths: per group that changes its width, the ratio to the dense one.
        numbers: per number of the code that changes, by call and place, its ratio to the dense one.
        problem: what else changes, else ``""``.
        alone: whether the problem may lie in changing this alone.
        computed: axis of the tensor that the code computes in another size, if the problem is that.
    """

    widths: Mapping[int, float]
    numbers: Mapping[tuple[int, int], float]
    problem: str = ""
    alone: bool = False
    computed: str = ""


class Responses:
    """Responses of one model's program to changes of its config.

    Args:
        configured: the dense model.
        analysis: of its program.
        program: traced from it.

    Raises:
        OptionError: if the class doesn't build the same model again, of the same groups.
    """

    def __init__(
        self, configured: Configured, analysis: Analysis, program: ExportedProgram
    ) -> None:
        self._configured = configured
        inputs = [x.to("meta") if isinstance(x, torch.Tensor) else x for x in user_inputs(program)]
        self._args, self._kwargs = call_arguments(program, inputs)
        self._shapes = self._shapes_of(configured.model)
        self._stored = frozenset(configured.model.state_dict())
        self._analysis = self._again(analysis)
        self._nodes = _calls(self._analysis.module)

    def _again(self, analysis: Analysis) -> Analysis:
        """Analyse the unchanged model on the meta device, where a few calls are others than on a CPU."""
        try:
            model = self._configured.build({})
            program = trace(model, self._args, self._kwargs)
            found = analyse(program, allow_inexact=analysis.allow_inexact)
            same = self._shapes_of(model) == self._shapes and _names(found) == _names(analysis)
            problem = "" if same else "it has other parameters or groups then"
        except (LoadError, TraceError) as error:
            found, problem = analysis, error.message
        if problem:
            raise OptionError(
                f"{type(self._configured.model).__name__} can't be built again from its config: {problem}",
                options=("keep_config",),
            )
        return found

    def shapes(self, changes: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]] | None:
        """Return the shapes of parameters after a change; ``None`` if there is no such model."""
        try:
            return self._shapes_of(self._configured.build(changes))
        except LoadError:
            return None

    @property
    def dense_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the dense parameters by name."""
        return self._shapes

    @property
    def dense_widths(self) -> tuple[int, ...]:
        """Dense widths of all groups."""
        return tuple(int(width) for width in self._analysis.widths)

    @staticmethod
    def _shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
        return {name: tuple(p.shape) for name, p in model.named_parameters()}

    def to(self, changes: Mapping[str, Any]) -> Response:
        """Find out what a change of the config does."""
        try:
            model = self._configured.build(changes)
        except LoadError as error:
            return _problem(error.message, alone=True)
        shapes = self._shapes_of(model)
        if shapes.keys() != self._shapes.keys():
            return _problem("it adds or removes parameters", alone=True)
        known = [name for name in shapes if name in self._analysis.axes]
        sizes = [s for name in known for s in self._tensor(name, shapes[name])]
        early = self._solved([s for s in sizes if _is_alone(s[0])])
        if isinstance(early, _Unsolved):
            return _problem(str(early))
        return self._traced(model)

    def _traced(self, model: nn.Module) -> Response:
        """Trace a model of the same parameters, and compare the two graphs."""
        try:
            graph = unlift(trace(model, self._args, self._kwargs))
        except (LoadError, TraceError, *FORWARD_ERRORS) as error:
            return _problem(f"the model can't be traced: {first_line(error)}", alone=True)
        nodes = _calls(graph)
        if [_call(node) for node in nodes] != [_call(node) for node in self._nodes]:
            return _problem("the model's code takes another path", alone=True)
        pairs = list(zip(self._nodes, nodes, strict=True))
        computed = self._solved([
            s for pair in pairs if self._computes(pair[0]) for s in self._of(*pair)
        ])
        if isinstance(computed, _Unsolved):  # of a quotient of two fields, say
            return Response({}, {}, str(computed), alone=True, computed=computed.where)
        widths = self._solved([s for pair in pairs for s in self._of(*pair)])
        if isinstance(widths, _Unsolved):
            return _problem(str(widths))
        return Response(widths, _numbers(self._nodes, nodes))

    def _computes(self, node: fx.Node) -> bool:
        """Whether a node is a tensor that no file of weights holds, since the code computes it."""
        return node.op == "get_attr" and str(node.target) not in self._stored

    def _tensor(self, name: str, shape: Sequence[int]) -> Iterator[_Size]:
        for dim, (axis, size) in enumerate(zip(self._analysis.axes[name], shape, strict=True)):
            yield self._size(axis), size, f"axis {dim} of {name}"

    def _of(self, old: fx.Node, new: fx.Node) -> Iterator[_Size]:
        """Collect the sizes of a call's results. Those without a layout depend on no width."""
        layout = self._analysis.layouts.get(old)
        layouts = [layout] if isinstance(layout, tuple) else list(layout or ())
        results, dense = _tensors(new), _tensors(old)
        for number, (after, before) in enumerate(zip(results, dense, strict=False)):
            axes = layouts[number] if number < len(layouts) else None
            for dim, size in enumerate(after.shape):
                where = f"axis {dim} of {old.target if old.op == 'get_attr' else old.name}"
                if isinstance(axes, tuple) and len(axes) == after.ndim:
                    yield self._size(axes[dim]), size_hint(size), where
                elif size_hint(size) != size_hint(before.shape[dim]):
                    yield Polynomial.constant(size_hint(before.shape[dim])), size_hint(size), where

    def _size(self, axis: Any) -> Polynomial:
        return self._analysis.grouping.size(self._analysis.labels.resolve(axis))

    def _solved(self, sizes: Sequence[_Size]) -> dict[int, float] | _Unsolved:
        """Solve for the widths that give all sizes; else return the first one that they don't give."""
        dense = [int(width) for width in self._analysis.widths]
        widths = list(dense)
        for polynomial, size, _ in sizes:
            if _is_alone(polynomial) and any(polynomial.terms):
                (((number,), factor),) = polynomial.terms.items()
                widths[number] = round(size / factor)
        for polynomial, size, where in sizes:
            if round(polynomial.at(widths)) != size:
                return _Unsolved(where, round(polynomial.at(dense)), size)
        return {
            number: now / before
            for number, (now, before) in enumerate(zip(widths, dense, strict=True))
            if now != before
        }


def _is_alone(size: Polynomial) -> bool:
    """Whether a size is a constant, or some times the width of one group."""
    return all(len(key) <= 1 for key in size.terms) and len(size.terms) <= 1


def _names(analysis: Analysis) -> list[tuple[str, int]]:
    return [(group.id, group.width) for group in analysis.groups]


def _problem(why: str, *, alone: bool = False) -> Response:
    return Response({}, {}, why, alone)


def _calls(graph: fx.GraphModule) -> list[fx.Node]:
    """List the nodes but for copies, which a call may need on one device only, for its memory layout."""
    return [n for n in graph.graph.nodes if n.op != "call_function" or not passes_value_on(n)]


def _call(node: fx.Node) -> tuple[str, str]:
    return node.op, "" if node.op == "placeholder" else str(node.target)


def _tensors(node: fx.Node) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _numbers(old: Sequence[fx.Node], new: Sequence[fx.Node]) -> dict[tuple[int, int], float]:
    """Find floating-point numbers among the arguments of calls that differ, with their ratios."""
    found: dict[tuple[int, int], float] = {}
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        pairs = zip(_floats(before), _floats(after), strict=False)
        for place, (x, y) in enumerate(pairs):
            if not math.isclose(x, y, rel_tol=1e-12):
                found[index, place] = y / x if x else math.inf
    return found


def _floats(node: fx.Node) -> list[float]:
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    return [leaf for leaf in leaves if type(leaf) is float]
