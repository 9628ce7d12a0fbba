"""The target of a layer's refit: the value after the layer in which its error is measured.

A BatchNorm after the layer is an affine map of its channels, a sum after that adds a shortcut, and
a ReLU after that drops what is negative. A refit that knows them compensates the error of the
shortcut too, and spends nothing on values that the ReLU drops, or a ReLU6 at either end. Found by following the graph as
long as a value has one reader, whatever the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from graphprune.ir.devices import wide
from graphprune.ir.memory import written_operands
from graphprune.ir.nodes import bind
from graphprune.ops import flat_limits, is_identity, traits_of
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.batchnorm.fold import scale_and_shift

from .layers import Layer, from_matrix
from .stored_values import StoredValues

__all__ = ["Target", "combined_scale_and_shift", "find_target", "set_weights"]


@dataclass(frozen=True)
class Target:
    """The value in which the error of a layer is measured.

    Attributes:
        value: the node whose dense value is to be reached: the layer, its last BatchNorm, or
            the sum after them. Its shape is that of the layer's output.
        norms: the BatchNorm calls between the layer and ``value``.
        other: the other operand of the sum, computed before the layer; ``None`` if no sum.
        limits: outside of these values nothing depends on how large ``value`` is, since what alone
            reads it is flat there: 0 and infinity before a ReLU; ``None`` without limits.
        end: the call that is flat there, such as the ReLU; without limits, ``value``.
    """

    value: fx.Node
    norms: tuple[fx.Node, ...]
    other: fx.Node | None
    limits: tuple[float, float] | None
    end: fx.Node


def find_target(layer: Layer) -> Target:
    """Find the target of a layer; where calls share the weight, it is the layer's own output."""
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
    limits = None if reader is None else flat_limits(reader)
    end = value if reader is None or limits is None else reader
    return Target(value, tuple(norms), other, limits, end)


def combined_scale_and_shift(
    norms: tuple[fx.Node, ...], tensors: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor] | None:
    """Combine BatchNorms in evaluation mode: scale and shift ``[channels]``, float64; ``None`` of none."""
    found: tuple[Tensor, Tensor] | None = None
    for norm in norms:
        scale, shift = scale_and_shift(norm, tensors)
        found = (scale, shift) if found is None else (found[0] * scale, found[1] * scale + shift)
    return found


def set_weights(
    stored: StoredValues,
    layer: Layer,
    copies: Mapping[fx.Node, fx.Node],
    norms: tuple[fx.Node, ...],
    weight: Tensor,
    change: Tensor,
) -> None:
    """Set a layer's weight, and shift its output by its bias or by a BatchNorm's running mean.

    Args:
        stored: the stored tensors that are set.
        layer: the layer.
        copies: node of the layer's graph -> node of that graph, where these differ.
        norms: BatchNorms after the layer; without a bias the running mean of the first takes the
            change, and without both it is dropped.
        weight: ``[groups, out / groups, u]``.
        change: ``[out]``, what to add to the layer's output.
    """
    place = copies.get(layer.weight, layer.weight)
    old = stored.constant(place)
    stored.set_constant(place, from_matrix(weight, old.shape, transposed=layer.transposed).to(old))
    place = layer.bias
    if place is None and norms:
        place, change = bind(norms[0])["running_mean"], -change
    if place is not None:
        place = copies.get(place, place)
        now = stored.constant(place)
        stored.set_constant(place, (wide(now) + change.reshape(now.shape)).to(now))


def _only_reader(value: fx.Node) -> fx.Node | None:
    users = [user for user in value.users if not traits_of(user).metadata]
    return users[0] if len(users) == 1 else None


def _is_frozen(norm: fx.Node) -> bool:
    """Whether a BatchNorm uses stored statistics that nothing else reads."""
    call = bind(norm)
    stored = [call[n] for n in ("weight", "bias", "running_mean", "running_var")]
    present = [node for node in stored if node is not None]
    return (
        call["training"] is False
        and call["running_mean"] is not None
        and all(node.op == "get_attr" and len(node.users) == 1 for node in present)
    )


def _other(reader: fx.Node, value: fx.Node, layer: fx.Node) -> fx.Node | None:
    """Return the other operand of a plain sum, if it is an activation computed before the layer."""
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
    return any(value in written_operands(user) for user in value.users if user is not unless)
