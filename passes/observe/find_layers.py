"""Find the layers of a graph: products of activations with a weight that can be refitted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import fx

from graphprune.ir.constant_calls import constant_calls
from graphprune.ir.nodes import bind, is_comparable
from graphprune.ir.sizes import shape
from graphprune.ops import Form, form_of, traits_of

from .layers import Layer
from .weight_views import StoredTensors

__all__ = ["find_layers"]


def find_layers(module: fx.GraphModule) -> tuple[Layer, ...]:
    """Find the layers of a graph whose weights can be refitted, in graph order.

    Left out: weights that depend on inputs, or that other calls read too; layers of complex values,
    and layers whose output size depends on values.
    """
    stored, computed = StoredTensors(module), constant_calls(module)
    found: list[Layer] = []
    for node in module.graph.nodes:
        form = _product(node)
        if form is None:
            continue
        call = bind(node)
        value, weight = call[form.value], call[form.weight]
        if (
            not is_comparable(value)
            or not _is_weight(weight)
            or not (weight in computed or stored.is_exclusive(weight, len(weight.users)))
        ):
            continue
        layer = Layer(
            len(found),
            node,
            node,
            value,
            weight,
            None,
            weight.meta["val"].ndim - 2,
            form.transposed,
        )
        if form.bias is None or call[form.bias] is None:
            found.append(_with_sum(layer, stored) if layer.calls == 1 else layer)
        # One number for each channel by the operator's own terms, or by broadcasting.
        elif stored.is_exclusive(bias := call[form.bias], layer.calls) and (
            form.bias == "bias" or _is_per_channel(bias, layer)
        ):
            found.append(replace(layer, bias=bias))
    return tuple(found)


def _product(node: fx.Node) -> Form | None:
    """Return how a product with a weight names its operands; ``None`` for other calls."""
    form = form_of(node)
    return None if form is None or form.kind == "norm" else form


def _is_weight(node: fx.Node) -> bool:
    """Whether a value is read only by products of one kind, as their weight and with the same bias."""
    kinds: set[Any] = set()
    for user in node.users:
        form, call = _product(user), bind(user)
        if form is None or call[form.weight] is not node or not _is_product(user, form):
            return False
        if call[form.value].op == "get_attr":
            return False
        kinds.add((user.target, call.get("groups"), call[form.bias] if form.bias else None))
    return len(kinds) == 1


def _is_product(node: fx.Node, form: Form) -> bool:
    """Whether a call multiplies a batch with one matrix, and scales nothing."""
    call = bind(node)
    value, weight = (call[name].meta["val"].ndim for name in (form.value, form.weight))
    batched = value == weight if form.kind == "convolution" else weight == 2
    return batched and call.get("alpha", 1) == call.get("beta", 1) == 1


def _with_sum(layer: Layer, stored: StoredTensors) -> Layer:
    """Give a layer without a bias the one that a sum after it adds, if there is one."""
    readers = list(layer.node.users)
    if len(readers) != 1 or traits_of(readers[0]).arithmetic != "sum":
        return layer
    call = bind(readers[0])
    bias = call["other"] if call["self"] is layer.node else call["self"]
    if call["alpha"] != 1 or not stored.is_exclusive(bias, 1) or not _is_per_channel(bias, layer):
        return layer
    return replace(layer, bias=bias, end=readers[0])


def _is_per_channel(bias: fx.Node, layer: Layer) -> bool:
    """Whether a bias has one number for each channel of the layer's output."""
    output, size = shape(layer.node), shape(bias)
    return len(size) <= len(output) and (1,) * (len(output) - len(size)) + tuple(size) == tuple(
        n if i == layer.channel % len(output) else 1 for i, n in enumerate(output)
    )
