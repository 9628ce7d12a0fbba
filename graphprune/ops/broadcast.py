"""Operands that are broadcast: how their axes are tied, and where the result is zero."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .fixed_random import FixedRandom
from .registry import traits_of

__all__ = ["broadcast", "pointwise"]

aten = torch.ops.aten


def broadcast(call: Call, layouts: Iterable[Layout], rank: int) -> Layout:
    """Tie the operands' axes, right-aligned as numpy does; size-1 axes stretch."""
    out: list[Axis] = [unlabelled(1)] * rank
    for layout in layouts:
        for i, axis in enumerate(layout, start=rank - len(layout)):
            out[i] = _join(call, out[i], axis)
    return tuple(out)


def _join(call: Call, left: Axis, right: Axis) -> Axis:
    if len(left) == 1:
        return right
    if len(right) == 1:
        return left
    call.tie(left, right)
    return left if left.shape[1] else right


def pointwise(call: Call) -> Layout:
    """Lay out a result of which each element depends on the same element of every operand."""
    layout = broadcast(call, _tensors(call), len(call.out_shape))
    call.loud(*_loud(call, layout))
    return layout


def _tensors(call: Call) -> list[Layout]:
    values = [v for v in call.arguments.values() if isinstance(v, fx.Node)]
    return [call.layout(v) for v in values if isinstance(v.meta.get("val"), torch.Tensor)]


def _loud(call: Call, result: Layout) -> list[Axis]:
    """List the axes along which zero rows of the operands don't give zero rows of the result.

    A product gives them where one factor has them, a quotient where its numerator has and none of the
    denominator's can go; of other functions the value at zero is looked up. An operand that is
    stretched along an axis isn't zero at one of its rows.
    """
    loud: list[Axis] = []
    for dim, axis in enumerate(result):
        if not call.removable(axis):
            continue
        zero = {
            node
            for node in _operands(call)
            if len(layout := call.layout(node)) >= len(result) - dim
            and len(own := layout[dim - len(result)]) == len(axis)
            and call.quiet(node, own)
        }
        if not _is_quiet(call, zero):
            loud.append(axis)
    return loud


def _is_quiet(call: Call, zero: set[fx.Node]) -> bool:
    """Whether the result is zero at a row where some of the operands are."""
    if call.node.target is aten.copy_.default:
        return call["src"] in zero
    traits = traits_of(call.node)
    if traits.arithmetic == "product":
        return bool(zero)
    if traits.quotient or call.node.target is aten.div.Tensor_mode:
        divisor = _own_axes(call, call["other"]) if call["other"] in _operands(call) else ()
        return call["self"] in zero and not call.removable(*divisor)
    return set(_operands(call)) == zero and _is_zero_at_zero(call)


def _own_axes(call: Call, node: fx.Node) -> Layout:
    """List the axes of a value, without those along which it repeats one row: at none of these is it zero alone."""
    layout = call.layout(node)
    if node.target not in {aten.expand.default, aten.expand_as.default}:
        return layout
    source = call.layout(node.args[0])
    new = len(layout) - len(source)
    return tuple(
        axis
        for dim, axis in enumerate(layout)
        if dim >= new and len(source[dim - new]) == len(axis)
    )


def _operands(call: Call) -> list[fx.Node]:
    nodes = call.node.all_input_nodes
    return [node for node in nodes if isinstance(node.meta.get("val"), torch.Tensor)]


def _is_zero_at_zero(call: Call) -> bool:
    """Whether the operator gives zero for zeros; of what it leaves as the memory happens to be, that isn't known."""
    if call.node.target is aten.empty_like.default:
        return False
    arguments = call.arguments | (
        {"device": torch.device("cpu")} if "device" in call.arguments else {}
    )
    for name, value in arguments.items():
        tensor = value.meta.get("val") if isinstance(value, fx.Node) else None
        if isinstance(tensor, torch.Tensor):
            arguments[name] = torch.zeros(1, dtype=tensor.dtype)
        elif isinstance(value, fx.Node):
            return False
    with FixedRandom():
        return bool((call.node.target(**arguments) == 0).all())  # type: ignore[operator]
