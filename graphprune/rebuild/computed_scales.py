"""Scales that code computes from sizes: ``q.size(-1) ** -0.5``, a quotient by ``math.sqrt(self.head_dim)``.

The graph has the number of the dense size. The class computes another one once the size has shrunk, and what is
multiplied with it takes over the difference. A scale that the module holds as an attribute stays. Which size a scale
was computed from is read off its value; that this is so is proven afterwards, by comparison with the cut program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from graphprune.ir.module_paths import module_at, module_call_of, owner_of
from graphprune.ir.nodes import evaluate
from graphprune.ops import traits_of
from graphprune.ops.facts import axes_of

from .follow_sizes import numbers_of

if TYPE_CHECKING:
    from graphprune.axes.labels import Axis
    from graphprune.cut.cut import Cut

__all__ = ["ComputedScale", "computed_scales"]

POWERS = (-0.5, 0.5, -0.25, 0.25, -1.0, 1.0)
"""Powers of a size that a scale may be, likelier ones first."""

MULTIPLES = (1, 2, 3, 4)
"""How many times a size may be taken, as where attention has several kinds of scores."""

CLOSE = 1e-6
"""Relative difference at which a scale is a power of a size; it may have been computed in float32."""


@dataclass(frozen=True)
class ComputedScale:
    """A scale that the class computes anew.

    Attributes:
        values: what could take over the difference, first choice first.
        factor: the difference.
        place: where in the code it is. Calls of one module have the same places.
    """

    values: tuple[fx.Node, ...]
    factor: float
    place: str


def computed_scales(model: nn.Module, cut: Cut) -> list[ComputedScale]:
    """Find the scales that a class computes from sizes which a cut changes.

    Args:
        model: the dense module.
        cut: what is removed.
    """
    found: list[ComputedScale] = []
    held: dict[str, set[float]] = {}
    earlier: Counter[str] = Counter()
    for node in cut.analysis.module.graph.nodes:
        scaled = _scaled(node, cut)
        if scaled is None:
            continue
        value, scale = scaled
        path = owner_of(node)
        if path not in held:
            held[path] = set(numbers_of(module_at(model, path)))
        if any(_close(scale, x) or (x and _close(scale, 1 / x)) for x in held[path]):
            continue
        before = list(_before(value))
        axes = [axis for each in before for axis in _axes(each, cut)]
        if (factor := _factor(scale, axes, cut)) != 1:
            operands = before[-1].all_input_nodes if len(before[-1].all_input_nodes) > 1 else []
            call = module_call_of(node)
            found.append(ComputedScale((value, *operands), factor, f"{path}: {earlier[call]}"))
            earlier[call] += 1
    return found


def _scaled(node: fx.Node, cut: Cut) -> tuple[fx.Node, float] | None:
    """Return what a call multiplies by one number, and the number."""
    traits = traits_of(node)
    quotient = traits.quotient
    if node.op != "call_function" or not (quotient or traits.arithmetic == "product"):
        return None
    left, right = (*node.args, None)[:2]
    for value, other in ((left, right), *(() if quotient else ((right, left),))):
        number = _constant(other, cut)
        if isinstance(value, fx.Node) and number:
            return value, 1 / number if quotient else number
    return None


def _constant(value: Any, cut: Cut) -> float | None:
    """Compute a number of the code, or a tensor that holds one and depends on constants only."""
    if type(value) in (int, float):
        return float(value)
    tensor = _tensor(value, cut)
    return float(tensor) if tensor is not None and tensor.numel() == 1 else None


def _tensor(value: Any, cut: Cut) -> torch.Tensor | None:
    if not isinstance(value, fx.Node):
        return None
    meta = value.meta.get("val")
    if not isinstance(meta, torch.Tensor) or meta.ndim or not meta.is_floating_point():
        return None
    if value.op == "get_attr":
        found = cut.analysis.tensors.get(str(value.target))
        if found is None or isinstance(found, nn.Parameter):
            return None
        return found
    inputs = {node: _tensor(node, cut) for node in value.all_input_nodes}
    if value.op != "call_function" or not inputs or any(x is None for x in inputs.values()):
        return None
    result = evaluate(value, lambda node: inputs[node])
    return result if isinstance(result, torch.Tensor) else None


def _before(value: fx.Node) -> Iterator[fx.Node]:
    """Yield a value, and those that it was moved or scaled from, back to the product that made them."""
    while True:
        yield value
        traits = traits_of(value)
        inputs = [n for n in value.all_input_nodes if isinstance(n.meta.get("val"), torch.Tensor)]
        if len(inputs) != 1 or not (traits.moves or traits.identity or traits.linear):
            return
        value = inputs[0]


def _axes(node: fx.Node, cut: Cut) -> Iterator[Axis]:
    """Yield the channel axes of a call's result, and those that it sums over."""
    facts = cut.analysis.facts.get(node)
    yield from (axis for axis in reversed(axes_of(cut.analysis.layouts.get(node))) if axis.shape[1])
    for contraction in facts.contractions if facts else ():
        yield contraction.axis


def _factor(scale: float, axes: list[Axis], cut: Cut) -> float:
    """Return the factor that makes up for a scale's change, or 1 if it is computed from none of the sizes."""
    for multiple in MULTIPLES:
        for power in POWERS:
            for axis in axes:
                size, left = len(axis), int(cut.kept(axis).sum())
                if left != size and _close(abs(scale), (multiple * size) ** power):
                    return (size / left) ** power
    return 1.0


def _close(value: float, other: float) -> bool:
    return abs(value - other) <= CLOSE * abs(other)
