"""Which calls of a graph are layers: products of activations with a weight that can be refitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import fx

from graphprune.graph import state
from graphprune.nodes import bind, shape
from graphprune.passes.fold_sites import CONVOLUTIONS, LINEAR, TRANSPOSED
from graphprune.stored import stored_calls

from .layers import Layer

__all__ = ["SUMS", "Stored", "find_layers"]

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
        if not _is_weight(weight):
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


def _is_weight(node: fx.Node) -> bool:
    """Whether all that reads a value are products of one kind, with it as their weight and with one bias."""
    kinds: set[Any] = set()
    for user in node.users:
        form, call = _FORMS.get(user.target), bind(user)
        if form is None or call[form.weight] is not node or not _is_product(user, form):
            return False
        if call[form.value].op == "get_attr":
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
    if (len(node.users) > 1 or len(node.all_input_nodes) != 1
            or not isinstance(node.target, torch._ops.OpOverload)):
        return False
    views = [each.alias_info is not None for each in node.target._schema.returns]
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
