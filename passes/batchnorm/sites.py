"""Find where BatchNorm (BN) can fold: into the layer before it, or into all layers after it.

Decided on the graph alone; no module class or name plays a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from graphprune.ir.memory import written_operands
from graphprune.ir.nodes import bind
from graphprune.ir.private_torch import OpOverload, pytree
from graphprune.ir.program import state
from graphprune.ops import form_of, is_identity, traits_of
from graphprune.ops.norm import BATCH_NORM

__all__ = ["Site", "Sites"]

# Modules of the functions that compute sizes, and of ``getitem``; none writes into a tensor.
SCALAR_MODULES = ("_operator", "math", "torch")


@dataclass(frozen=True)
class Site:
    """One BN and the layers it folds into: the one before it, or all those after it."""

    bn: fx.Node
    layers: tuple[fx.Node, ...]
    after: bool


class Sites:
    """Finder of the layers that a BN can fold into. Stays valid while others are folded."""

    def __init__(self, module: fx.GraphModule) -> None:
        tensors = state(module)
        values = [value for node in module.graph.nodes for value in _written(node)]
        read = (n for value in values for n in _memory(value) if n.op == "get_attr")
        roots = {str(node.target) for node in read}
        # One tensor can have several names.
        written = {id(tensors[name]) for name in roots & set(tensors)}
        self._variable = {
            name for name, tensor in tensors.items()
            if id(tensor) in written or not tensor.is_floating_point()
        }  # fmt: skip

    def of(self, bn: fx.Node) -> Site | None:
        """Return where the BN folds, or ``None`` if it doesn't."""
        call = bind(bn)
        if call["training"] is not False or call["running_mean"] is None:
            return None
        names = ("weight", "bias", "running_mean", "running_var")
        if not all(self._is_constant(call[n]) for n in names if call[n] is not None):
            return None
        before = self._producer(call["input"])
        if before is not None:
            return Site(bn, (before,), after=False)
        after = self._consumers(bn)
        return Site(bn, after, after=True) if after else None

    def _producer(self, value: fx.Node) -> fx.Node | None:
        """Return the layer that computes a value, if nothing else reads it."""
        while is_identity(value) and len(_users(value)) == 1:
            value = value.all_input_nodes[0]
        takes = len(_users(value)) == 1 and self._is_plain(value) and _has_axis(value, value)
        return value if takes else None

    def _consumers(self, bn: fx.Node) -> tuple[fx.Node, ...]:
        """Return the layers that read the BN's result, if nothing but foldable layers does."""
        layers = tuple(_readers(bn))
        for layer in layers:
            if not (self._is_plain(layer) and _has_axis(layer, bn) and _takes_shift(layer)):
                return ()
        return () if _overwritten(bn, layers) else layers

    def _is_plain(self, node: fx.Node) -> bool:
        """Whether a node is a layer with stored weights that are not its input as well."""
        form = form_of(node)
        if form is None or not form.is_layer:
            return False
        call = bind(node)
        stored = [call[name] for name in ("weight", "bias") if call[name] is not None]
        return call["input"] not in stored and all(self._is_constant(n) for n in stored)

    def _is_constant(self, node: Any) -> bool:
        """Whether a node reads a stored floating-point tensor that no call writes into."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return False
        return node.target not in self._variable


def _users(value: fx.Node) -> list[fx.Node]:
    return [user for user in value.users if not traits_of(user).metadata]


def _readers(value: fx.Node) -> Iterator[fx.Node]:
    """Yield the calls that read a value, through identities."""
    for user in _users(value):
        if is_identity(user):
            yield from _readers(user)
        else:
            yield user


def _has_axis(layer: fx.Node, value: fx.Node) -> bool:
    """Whether the layer's channels are axis 1 of the value, as BN's are.

    They are not where a convolution has no batch axis, or a linear has further axes.
    """
    example, weight = value.meta.get("val"), bind(layer)["weight"].meta.get("val")
    if not isinstance(example, Tensor) or not isinstance(weight, Tensor):
        return False
    return example.ndim == weight.ndim


def _takes_shift(layer: fx.Node) -> bool:
    """Whether a constant on an input channel becomes one constant on each output channel."""
    form, call = form_of(layer), bind(layer)
    assert form is not None
    if form.kind == "linear":
        return True
    point = all(size == 1 for size in call["weight"].meta["val"].shape[2:])
    if form.transposed:
        # A wider kernel or stride gives positions that receive different taps.
        steps = all(size == 1 for size in pytree.tree_leaves(call["stride"]))
        return point and steps and _zero(call["padding"]) and _zero(call["output_padding"])
    if isinstance(call["padding"], str):
        return point or call["padding"] == "valid"
    return _zero(call["padding"])


def _zero(sizes: Any) -> bool:
    return all(isinstance(size, int) and size == 0 for size in pytree.tree_leaves(sizes))


def _overwritten(bn: fx.Node, layers: tuple[fx.Node, ...]) -> bool:
    """Whether the BN's input may be overwritten before the last layer would read it."""
    waiting, node = set(layers), bn
    memory = _memory(bind(bn)["input"])
    while waiting:
        waiting.discard(node)
        if any(memory & _memory(value) for value in _written(node)):
            return True
        node = node.next
    return False


def _written(node: fx.Node) -> list[fx.Node]:
    """Return the operands that a node may write into."""
    if node.op != "call_function":
        return list(node.all_input_nodes) if node.op.startswith("call") else []
    if isinstance(node.target, OpOverload):
        written, call = written_operands(node), bind(node)
        if node.target is BATCH_NORM and call["training"] is not False:
            # In training, which its schema doesn't say.
            statistics = (call["running_mean"], call["running_var"])
            written += [value for value in statistics if value is not None]
        return written
    if getattr(node.target, "__module__", "") in SCALAR_MODULES:
        return []
    return list(node.all_input_nodes)


def _memory(node: fx.Node) -> set[fx.Node]:
    """Return every earlier value that a value may share memory with, itself included."""
    found, todo = {node}, [node]
    while todo:
        current = todo.pop()
        if form_of(current) is not None:  # a layer writes its result into new memory
            continue
        fresh = [n for n in current.all_input_nodes if n not in found]
        found.update(fresh)
        todo.extend(fresh)
    return found
