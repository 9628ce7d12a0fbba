"""Find the calls that onnxruntime fuses into the layer before them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from graphprune.ir.nodes import bind
from graphprune.ops import form_of, traits_of

from .exported import ACTIVATIONS, Exported

__all__ = ["Fusion", "activation", "is_convolution"]


class Fusion:
    """Finder of the activations and sums that are fused into layers.

    Attributes:
        exported: the network as it runs once exported.
        fused: calls found so far that don't run on their own.
    """

    def __init__(self, exported: Exported) -> None:
        self.exported = exported
        self.fused: set[fx.Node] = set()

    def tail(self, node: fx.Node) -> tuple[tuple[str | float, ...], ...]:
        """Return what is fused into a layer: a sum, an activation, or both.

        Each must be the only reader of the value before it.
        """
        tail: list[tuple[str | float, ...]] = []
        chain = {node}
        for follower in self._followers(node):
            if follower.target in ACTIVATIONS:
                tail.append(activation(follower))
            elif (
                traits_of(follower).arithmetic == "sum" and not tail and self._adds(follower, chain)
            ):
                tail.append(("Add",))
            else:
                break
            self.fused.add(follower)
            chain.add(follower)
            if follower.target in ACTIVATIONS:
                break
        return tuple(tail)

    def _followers(self, node: fx.Node) -> Iterator[fx.Node]:
        """Yield the chain of single readers, without calls that cost nothing."""
        while len(readers := self.exported.readers(node)) == 1:
            node = readers[0]
            if node.op != "call_function":
                return
            if not self.exported.is_free(node) or traits_of(node).view:
                yield node

    def _adds(self, node: fx.Node, chain: set[fx.Node]) -> bool:
        """Whether a sum is fused into this layer: it is into the first operand that is a convolution."""
        if node in self.fused:
            return False
        call = bind(node)
        first, second = call["self"], call["other"]
        shape = self.exported.shape
        if not isinstance(second, fx.Node) or shape(first) != shape(second):
            return False
        return self._layer(first) in chain or self._layer(first) is None

    def _layer(self, node: fx.Node) -> fx.Node | None:
        """Return the convolution that computes a value, if nothing else reads or changes it."""
        readers = self.exported.readers
        while self.exported.is_free(node) and not traits_of(node).view and len(readers(node)) == 1:
            if node.op != "call_function":
                return None
            node = node.all_input_nodes[0]
        return node if is_convolution(node) and len(readers(node)) == 1 else None


def is_convolution(node: fx.Node) -> bool:
    """Whether a call is a convolution that isn't transposed."""
    form = form_of(node)
    return form is not None and form.kind == "convolution" and not form.transposed


def activation(node: fx.Node) -> tuple[str | float, ...]:
    """Return the ONNX name of an activation, and its parameters."""
    call = bind(node)
    if ACTIVATIONS[node.target] == "Clip":
        return "Clip", float(call.get("min_val", 0.0)), float(call.get("max_val", 6.0))
    if ACTIVATIONS[node.target] == "LeakyRelu":
        return "LeakyRelu", float(call["negative_slope"])
    return (ACTIVATIONS[node.target],)
