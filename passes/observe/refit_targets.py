"""What a layer's output is for: the value in which its error counts.

A BatchNorm behind the layer is an affine map of its channels; a sum behind that adds a shortcut;
a ReLU behind that forgets what is negative. A refit that knows them makes up for the error of
the shortcut too, and spends nothing on values that nobody sees. Found by following the graph as
long as a value has one reader, whatever the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from graphprune.ir.nodes import bind
from graphprune.ops import is_identity, traits_of
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.batchnorm.fold import scale_and_shift

from .layers import Layer, from_matrix
from .staged_run import StagedRun

__all__ = ["Target", "combined_scale_and_shift", "find_target", "set_weights"]


@dataclass(frozen=True)
class Target:
    """Where the error of a layer counts.

    Attributes:
        value: the node whose dense value is to be reached: the layer, its last BatchNorm, or
            the sum behind them. Its shape is that of the layer's output.
        norms: the BatchNorm calls between the layer and ``value``.
        other: the other operand of the sum, computed before the layer; ``None`` if no sum.
        end: the ReLU that is all that reads ``value``, or ``value``.
    """

    value: fx.Node
    norms: tuple[fx.Node, ...]
    other: fx.Node | None
    end: fx.Node

    @property
    def rectified(self) -> bool:
        """Whether all that reads ``value`` is one ReLU."""
        return self.end is not self.value


def find_target(layer: Layer) -> Target:
    """Follow a layer's output to where its error counts: its own, where calls share the weight."""
    value, norms, alone = layer.end, list[fx.Node](), layer.calls == 1
    while (reader := _only_reader(value)) is not None:
        if is_identity(reader):
            value = reader
        elif reader.target is BATCH_NORM and layer.spatial and alone and _is_frozen(reader):
            norms.append(reader)
            value = reader
        else:
            break
    other = _other(reader, value, layer.node) if reader is not None and alone else None
    if other is not None and reader is not None:
        value, reader = reader, _only_reader(reader)
    end = reader if reader is not None and traits_of(reader).rectifier else value
    return Target(value, tuple(norms), other, end)


def combined_scale_and_shift(
    norms: tuple[fx.Node, ...], tensors: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor] | None:
    """``(scale, shift)`` of some BatchNorms in evaluation, ``[channels]`` each, float64."""
    found: tuple[Tensor, Tensor] | None = None
    for norm in norms:
        scale, shift = scale_and_shift(norm, tensors)
        found = (scale, shift) if found is None else (found[0] * scale, found[1] * scale + shift)
    return found


def set_weights(
    run: StagedRun,
    layer: Layer,
    copies: Mapping[fx.Node, fx.Node],
    norms: tuple[fx.Node, ...],
    weight: Tensor,
    change: Tensor,
) -> None:
    """Give a layer other weights, and its output another mean, if anything behind it holds one.

    Args:
        run: what to change.
        layer: the layer.
        copies: the graph's node for each node of the layer's graph, where these aren't the same.
        norms: BatchNorms behind it; without a bias the running mean of the first takes the change.
        weight: ``[groups, out, u]``.
        change: ``[groups * out]``, what to add to the layer's output.
    """
    place = copies.get(layer.weight, layer.weight)
    old = run.constant(place)
    run.set_constant(
        place, from_matrix(weight, old.shape, transposed=layer.transposed).to(old.dtype)
    )
    place = layer.bias
    if place is None and norms:
        place, change = bind(norms[0])["running_mean"], -change
    if place is not None:
        place = copies.get(place, place)
        now = run.constant(place)
        run.set_constant(place, (now.double() + change.reshape(now.shape)).to(now.dtype))


def _only_reader(value: fx.Node) -> fx.Node | None:
    users = [user for user in value.users if not traits_of(user).metadata]
    return users[0] if len(users) == 1 else None


def _is_frozen(norm: fx.Node) -> bool:
    """Whether a BatchNorm uses stored statistics that are its own."""
    call = bind(norm)
    stored = [call[n] for n in ("weight", "bias", "running_mean", "running_var")]
    present = [node for node in stored if node is not None]
    return (
        call["training"] is False
        and call["running_mean"] is not None
        and all(node.op == "get_attr" and len(node.users) == 1 for node in present)
    )


def _other(reader: fx.Node, value: fx.Node, layer: fx.Node) -> fx.Node | None:
    """The other operand of a plain sum, if it is an activation that stands before the layer."""
    if traits_of(reader).arithmetic != "sum":
        return None
    call = bind(reader)
    operands = [call["self"], call["other"]]
    others = [x for x in operands if x is not value]
    if call["alpha"] != 1 or len(others) != 1 or not isinstance(others[0], fx.Node):
        return None
    other = others[0]
    example, summed, mine = (node.meta.get("val") for node in (other, reader, value))
    same = (
        isinstance(example, Tensor)
        and isinstance(summed, Tensor)
        and isinstance(mine, Tensor)
        and example.shape == summed.shape == mine.shape
    )
    return (
        other
        if same and other.op != "get_attr" and other < layer and not _overwritten(other, reader)
        else None
    )


def _overwritten(value: fx.Node, unless: fx.Node) -> bool:
    """Whether a reader other than ``unless`` may write into the value."""
    for user in value.users:
        if user is unless or not isinstance(user.target, torch._ops.OpOverload):
            continue
        arguments = user.target._schema.arguments
        if any(a.alias_info is not None and a.alias_info.is_write for a in arguments):
            return True
    return False
