"""Layers with weights, seen as linear regressions: rows of inputs, a matrix, rows of outputs.

A convolution at one position is a matrix product with the patch under its kernel (im2col), a
transposed one with what reaches that position, and a linear layer is one at each of its leading
indices, however it is written. All that is measured or refitted of a layer works on such rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from graphprune.analysis import Analysis, Kept
from graphprune.graph import state
from graphprune.labels import Axis
from graphprune.nodes import bind, shape
from graphprune.passes.fold_batchnorm import by_group, from_groups
from graphprune.passes.fold_sites import CONVOLUTIONS, LINEAR, TRANSPOSED
from graphprune.stored import stored_calls

__all__ = ["SUMS", "Layer", "Stored", "as_matrix", "find_layers", "from_matrix", "others", "sizes", "staying",
           "tied"]

aten = torch.ops.aten

SUMS = (aten.add.Tensor, aten.add_.Tensor)


class _Form(NamedTuple):
    """How an operator names its operands, and whether its weight is ``[in, out / groups, *kernel]``."""

    value: str
    weight: str
    bias: str | None
    transposed: bool = False


_FORMS: Mapping[Any, _Form] = {
    **dict.fromkeys((LINEAR, *CONVOLUTIONS), _Form("input", "weight", "bias")),
    **dict.fromkeys(TRANSPOSED, _Form("input", "weight", "bias", transposed=True)),
    aten.addmm.default: _Form("mat1", "mat2", "self", transposed=True),
    aten.mm.default: _Form("self", "mat2", None, transposed=True),
    aten.matmul.default: _Form("self", "other", None, transposed=True),
}


@dataclass(frozen=True)
class Layer:
    """One call of a convolution or of a matrix product. Calls may share a weight; see ``tied``.

    Attributes:
        number: place among the layers, in graph order.
        node: the call.
        end: the call, or the sum behind it that adds the bias.
        value: its input.
        weight: a stored tensor, or a call that computes it from such, ``[out, in / groups, *kernel]``, ...
        bias: name of the bias, if it has one; one number for each channel.
        spatial: number of spatial dimensions; 0 for a linear layer.
        transposed: ... or ``[in, out / groups, *kernel]``.
    """

    number: int
    node: fx.Node
    end: fx.Node
    value: fx.Node
    weight: fx.Node
    bias: str | None
    spatial: int
    transposed: bool

    @property
    def name(self) -> str:
        """Of the weight, or of the first tensor that it is computed from."""
        return _name(self.weight)

    @property
    def calls(self) -> int:
        """How many share the weight."""
        return len(self.weight.users)

    @property
    def channel(self) -> int:
        """The channel dimension of the output."""
        return 1 if self.spatial else -1

    def matrix(self, weight: Tensor, groups: int) -> Tensor:
        """A weight as ``[groups, out / groups, in / groups * kernel]``, float64."""
        return as_matrix(weight.detach().double(), groups, transposed=self.transposed)


def as_matrix(weight: Tensor, groups: int, *, transposed: bool) -> Tensor:
    """A layer's weight as ``[groups, out / groups, in / groups * kernel]``."""
    return by_group(weight, groups, transposed=transposed).flatten(2)


def from_matrix(matrix: Tensor, size: torch.Size, *, transposed: bool) -> Tensor:
    """The weight of this shape that ``as_matrix`` makes the matrix of."""
    wide = matrix.unflatten(2, (-1, math.prod(size[2:])))
    return from_groups(wide, size, transposed=transposed)


def sizes(layer: Layer) -> tuple[int, int]:
    """Groups, and unknowns of the regression of one output in one of them."""
    groups, size = int(bind(layer.node).get("groups", 1)), shape(layer.weight)
    inputs = size[0] // groups if layer.transposed else size[1]
    return groups, inputs * math.prod(size[2:])


def find_layers(module: fx.GraphModule) -> tuple[Layer, ...]:
    """The layers of a graph. Left out: weights that inputs have a say in, or that are read otherwise too."""
    stored, computed = Stored(module), stored_calls(module)
    found: list[Layer] = []
    for node in module.graph.nodes:
        form = _FORMS.get(node.target)
        if form is None:
            continue
        call = bind(node)
        value, weight, transposed = call[form.value], call[form.weight], form.transposed
        if value.op == "get_attr" or not _is_product(node, form) or not _is_weight(weight):
            continue
        if weight in computed and _is_turned(weight) and stored.own(weight.all_input_nodes[0], 1):
            weight, transposed = weight.all_input_nodes[0], not transposed
        elif stored.own(weight, len(weight.users)) is None and weight not in computed:
            continue
        layer = Layer(len(found), node, node, value, weight, None, len(shape(weight)) - 2, transposed)
        if form.bias is None or call[form.bias] is None:
            found.append(stored.with_sum(layer) if layer.calls == 1 else layer)
            continue
        # One number for each channel by the operator's own terms, or by broadcasting.
        known = stored.own if form.bias == "bias" else partial(stored.per_channel, layer=layer)
        if (bias := known(call[form.bias], layer.calls)) is not None:
            found.append(replace(layer, bias=bias))
    return tuple(found)


def tied(layers: Iterable[Layer]) -> dict[Layer, tuple[Layer, ...]]:
    """The first of those that share a weight -> all of them."""
    by_weight: dict[fx.Node, list[Layer]] = {}
    for layer in layers:
        by_weight.setdefault(layer.weight, []).append(layer)
    return {tie[0]: tuple(tie) for tie in by_weight.values()}


def _is_weight(node: fx.Node) -> bool:
    """Whether all that reads a value are calls of one kind, with it as their weight and with one bias."""
    kinds: set[Any] = set()
    for user in node.users:
        form, call = _FORMS.get(user.target), bind(user)
        if form is None or call[form.weight] is not node or not _is_product(user, form):
            return False
        kinds.add((user.target, call.get("groups"), call[form.bias] if form.bias else None))
    return len(kinds) == 1


def _is_product(node: fx.Node, form: _Form) -> bool:
    """Whether it is a batch times one matrix, and nothing is scaled."""
    call = bind(node)
    value, weight = (len(shape(call[name])) for name in (form.value, form.weight))
    batched = value == weight if node.target in (*CONVOLUTIONS, *TRANSPOSED) else weight == 2
    return batched and call.get("alpha", 1) == call.get("beta", 1) == 1


def _is_turned(node: fx.Node) -> bool:
    """Whether a call turns a matrix: the same memory, read the other way round."""
    if len(node.users) > 1 or len(node.all_input_nodes) != 1:
        return False
    views = [each.alias_info is not None for each in node.target._schema.returns]  # type: ignore[union-attr]
    result, source = node.meta["val"], node.all_input_nodes[0].meta["val"]
    return (views == [True] and result.ndim == 2 and result.shape == source.shape[::-1]
            and result.stride() == source.stride()[::-1])


class Stored:
    """The tensors of a graph, and how often each is read.

    Args:
        module: the graph.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self._tensors = state(module)
        self._uses = Counter(
            id(self._tensors[node.target])
            for node in module.graph.find_nodes(op="get_attr") if node.target in self._tensors
            for _ in node.users
        )

    def own(self, node: Any, calls: int) -> str | None:
        """The name of a tensor that so many calls read, and nothing else."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        name = str(node.target)
        return name if name in self._tensors and self._uses[id(self._tensors[name])] == calls else None

    def per_channel(self, node: Any, calls: int, layer: Layer) -> str | None:
        """The same, if a sum adds one number of it to each channel of the layer's output."""
        name, output = self.own(node, calls), shape(layer.node)
        size = self._tensors[name].shape if name else ()
        fits = len(size) <= len(output) and (1,) * (len(output) - len(size)) + tuple(size) == tuple(
            n if i == layer.channel % len(output) else 1 for i, n in enumerate(output))
        return name if fits else None

    def with_sum(self, layer: Layer) -> Layer:
        """A layer without a bias, with that which a sum behind it adds."""
        readers = list(layer.node.users)
        if len(readers) != 1 or readers[0].target not in SUMS:
            return layer
        call = bind(readers[0])
        other = call["other"] if call["self"] is layer.node else call["self"]
        bias = self.per_channel(other, 1, layer) if call["alpha"] == 1 else None
        return layer if bias is None else replace(layer, bias=bias, end=readers[0])


def others(analysis: Analysis, kept: Kept, nodes: Collection[fx.Node]) -> tuple[str, ...]:
    """Names of the weights that lose inputs, other than those of some calls."""
    computed = stored_calls(analysis.module, larger=True)
    found: list[str] = []
    for node, facts in analysis.facts.items():
        weights = [n for n in node.all_input_nodes if n.op == "get_attr" or n in computed]
        if weights and node not in nodes and node not in computed and any(
                not kept(contraction.axis).all() for contraction in facts.contractions):
            found.append(_name(weights[0]))
    return tuple(dict.fromkeys(found))


def _name(node: fx.Node) -> str:
    while node.op != "get_attr":
        node = node.all_input_nodes[0]
    return str(node.target)


def staying(layer: Layer, analysis: Analysis, kept: Kept) -> Tensor | None:
    """Which channels of a layer's output stay: a mask. ``None`` if other dimensions shrink as well."""
    layout = analysis.layouts[layer.node]
    if not isinstance(layout, tuple):
        return None
    others: list[Axis] = list(layout)
    own = others.pop(layer.channel)
    whole = all(bool(kept(axis).all()) for axis in others)
    return torch.from_numpy(kept(own)) if whole else None  # pyright: ignore[reportUnknownMemberType]
