"""Absorb the factors that a cut graph multiplies by into a module's own parameters and attributes.

A cut program corrects statistics and the scale of attention by factors in the graph. The user's
class has no place for these, but its parameters may take them over: the weight of a norm, the
rows of a projection that make queries; and so may an epsilon kept as an attribute. Whether this
gives the same is not decided here: ``rebuild.py`` compares the result with the cut program.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.ir.data_sizes import DataSizes
from graphprune.ir.nodes import bind, evaluate
from graphprune.ops import form_of, passes_value_on, traits_of
from graphprune.ops.facts import share

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis
    from graphprune.cut.cut import Cut

    from .computed_scales import ComputedScale

__all__ = ["AbsorbedScales", "absorb_scales"]

aten = torch.ops.aten


@dataclass
class AbsorbedScales:
    """Parameters and numbers that take over the factors of a cut graph.

    Attributes:
        rows: per tensor and purpose, what each row of its first axis is multiplied by,
            ``[rows]``. A tensor that several calls share is multiplied once for each purpose; a purpose is
            ``query``, ``statistic``, or the place of a computed scale.
        literals: call, number among its arguments, and the number to take its place.
    """

    rows: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    literals: list[tuple[fx.Node, float, float]] = field(default_factory=list)

    def factors(self, name: str, cut: Cut) -> torch.Tensor:
        """Collect the factor of each row that is left on a tensor's first axis."""
        factors = np.prod(list(self.rows[name].values()), axis=0)
        axis = cut.analysis.axes[name][0]
        return torch.from_numpy(factors[cut.kept(axis)] if axis.shape[1] else factors)


def absorb_scales(cut: Cut, computed: Iterable[ComputedScale] = ()) -> AbsorbedScales:
    """Find the parameters and numbers that can take over the factors of a cut program.

    Factors for which there are none are left out.

    Args:
        cut: what is removed.
        computed: scales that the module's code computes anew.
    """
    absorbed, analysis = AbsorbedScales(), cut.analysis
    for node, facts in analysis.facts.items():
        for argument, scale in facts.scales.items():
            if (factor := scale(cut.kept)) == 1:
                continue
            if argument:
                _backward(analysis, bind(node)[argument], factor, absorbed)
            else:
                _forward(analysis, node, factor, absorbed)
        if node.target is aten.scaled_dot_product_attention.default:
            _query(cut, node, absorbed)
    for each in computed:
        for value in each.values:
            if _backward(analysis, value, each.factor, absorbed, each.place):
                break
    return absorbed


def _query(cut: Cut, node: fx.Node, absorbed: AbsorbedScales) -> None:
    """Scale queries to make up for the default scale ``1 / sqrt(E)``, in which ``E`` has shrunk."""
    arguments = bind(node)
    layout = cut.analysis.layouts[arguments["query"]]
    if arguments["scale"] is None and isinstance(layout, tuple):
        factor = math.sqrt(share(cut.kept, layout[-1:]))
        if factor != 1:
            _backward(cut.analysis, arguments["query"], factor, absorbed)


def _backward(
    analysis: Analysis,
    node: fx.Node,
    factor: float,
    absorbed: AbsorbedScales,
    purpose: str = "query",
) -> bool:
    """Carry a factor back to the one stored tensor, or the one layer, that makes all of a value, if there is one."""
    if (stored := _stored(node)) is not None:
        _multiply(analysis, stored, None, factor, absorbed, "statistic")
        return True
    if (source := _ProducingLayers(analysis.data_sizes)[node]) is None:
        return False
    layer, numbers = source
    arguments = bind(layer)
    for name in ("weight", "bias"):
        if (found := _stored_rows(analysis, arguments.get(name))) is not None:
            stored, rows = found
            _multiply(analysis, stored, rows[np.unique(numbers.numpy())], factor, absorbed, purpose)
    return True


def _stored_rows(analysis: Analysis, value: Any) -> tuple[fx.Node, NDArray[np.int64]] | None:
    """Find the tensor that an operand is, or is a part of, and which of its rows those of the operand are."""
    moved: list[fx.Node] = []
    while isinstance(value, fx.Node) and value.op != "get_attr" and _moves(value):
        moved.append(value)
        value = value.all_input_nodes[0]
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    tensor = analysis.tensors[str(value.target)]
    rows: Any = torch.arange(len(tensor)).view(-1, *[1] * (tensor.ndim - 1)).expand(tensor.shape)
    for node in reversed(moved):
        if not passes_value_on(node):
            operands = dict.fromkeys(node.all_input_nodes, _laid_out(rows))
            rows = evaluate(node, operands.__getitem__)
    return value, rows.flatten(1)[:, 0].numpy() if rows.ndim > 1 else rows.numpy()


def _multiply(
    analysis: Analysis,
    stored: fx.Node,
    rows: NDArray[np.int64] | None,
    factor: float,
    absorbed: AbsorbedScales,
    purpose: str,
) -> None:
    name = str(stored.target)
    factors = np.ones(len(analysis.tensors[name]))
    factors[slice(None) if rows is None else rows] = factor
    absorbed.rows.setdefault(name, {})[purpose] = factors


class _ProducingLayers:
    """For each node, the one layer that makes its value, and which of the layer's rows it is made of.

    The value is homogeneous in the layer's weight and bias. Numbers keep the value's shape as
    long as it is only moved, and are a plain list after that. ``None``: there is no such layer.
    """

    def __init__(self, sizes: DataSizes) -> None:
        self._sizes = sizes
        self._found: dict[fx.Node, tuple[fx.Node, Any] | None] = {}

    def __getitem__(self, node: fx.Node) -> tuple[fx.Node, Any] | None:
        if node not in self._found:
            self._found[node] = self._find(node)
        return self._found[node]

    def _find(self, node: fx.Node) -> tuple[fx.Node, Any] | None:
        if _makes_all(node):
            return node, _numbers(node, self._sizes)
        traits, product = traits_of(node), traits_of(node).arithmetic == "product"
        if not (_moves(node) or traits.linear or product):
            return None
        inputs = [
            n for n in node.all_input_nodes if not isinstance(n.meta.get("val"), torch.SymInt)
        ]
        sources = [s for s in map(self.__getitem__, inputs) if s is not None]
        expected = 1 if product else len(inputs)
        if len(sources) != expected or len({layer for layer, _ in sources}) != 1:
            return None
        layer, numbers = sources[0]
        if _moves(node):
            return layer, _moved(node, inputs[0], numbers, self._sizes)
        return layer, torch.cat([n.reshape(-1) for _, n in sources])


def _makes_all(node: fx.Node) -> bool:
    """Whether a call's weight and bias, scaled row by row, scale all of its result."""
    form = form_of(node)
    return form is not None and form.kind != "matmul" and not form.transposed


def _moves(node: fx.Node) -> bool:
    """Whether a call's result consists of elements of its first operand."""
    return traits_of(node).moves or passes_value_on(node) or node.target is operator.getitem


def _numbers(layer: fx.Node, sizes: DataSizes) -> torch.Tensor:
    size = list(sizes.shape(layer))
    form = form_of(layer)
    assert form is not None
    channel = form.channel % len(size)
    view = [-1 if i == channel else 1 for i in range(len(size))]
    return torch.arange(size[channel]).view(view).expand(size)


def _moved(node: fx.Node, source: fx.Node, numbers: Any, sizes: DataSizes) -> Any:
    if passes_value_on(node) or (isinstance(numbers, torch.Tensor) and numbers.ndim == 1):
        return numbers

    def value(n: fx.Node) -> Any:
        # a copy that the graph makes first is left out, so any view has to fit
        return _laid_out(numbers) if n is source else sizes.of(n.meta["val"])

    return evaluate(node, value)


def _laid_out(numbers: Any) -> Any:
    return numbers.contiguous() if isinstance(numbers, torch.Tensor) else numbers


def _forward(analysis: Analysis, node: fx.Node, factor: float, absorbed: AbsorbedScales) -> None:
    """Carry a factor on to where a stored tensor is multiplied with it."""
    literals: list[tuple[fx.Node, float, float]] = []
    for user, other in _chain(node):
        traits = traits_of(user)
        if traits.power is not None:
            factor **= traits.power
        elif traits.arithmetic == "sum" and isinstance(other, float):
            literals.append((user, other, other / factor))
        elif traits.quotient and bind(user)["other"] is node:
            factor = 1 / factor
        elif traits.arithmetic == "product" and (stored := _stored(other)) is not None:
            absorbed.literals.extend(literals)
            _multiply(analysis, stored, None, factor, absorbed, "statistic")
            return
        elif not (_moves(user) or traits.arithmetic == "product" or traits.quotient):
            return
        node = user


def _chain(node: fx.Node) -> Iterator[tuple[fx.Node, Any]]:
    """Yield the only user of a value (checks aside) and its other operand, then the only user of that."""
    while len(users := [u for u in node.users if not traits_of(u).metadata]) == 1:
        (user,) = users
        others = [a for a in user.args if a is not node]
        yield user, others[0] if others else None
        node = user


def _stored(value: Any) -> fx.Node | None:
    while isinstance(value, fx.Node) and passes_value_on(value):
        value = value.all_input_nodes[0]
    return value if isinstance(value, fx.Node) and value.op == "get_attr" else None
