"""Products of the outputs of two layers, such as the queries and keys of an attention, and what is left of them.

The score of a query and a key is a sum over the channels of a head, ``q · k``. Where some of these channels are cut,
those that are left of the key can make up for it: with ``G`` the second moment of the head's queries, the key that keeps
the scores best in the mean square is ``inv(G[S, S]) G[S, :] k``, where ``S`` are the channels left. So that is what the
layer is refitted towards, in place of the channels left of ``k`` itself.

Source: a compensation of attention scores as in CORP (arXiv:2602.05243), here in the target of the refit. Which layers
are multiplied, and which of their channels with which, is found by following the channels' numbers through
calls that only move them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.analysis.analyse import Analysis
from graphprune.ir.devices import wide
from graphprune.ir.nodes import bind
from graphprune.ops import traits_of
from graphprune.verify.graph_runs import run

from .distributed import sum_over_processes
from .layers import Layer, regression_sizes

__all__ = ["Partner", "compensation", "find_products", "second_moment"]

RIDGE = 1e-4
"""Ridge of the compensation, in units of the mean second moment."""


@dataclass(frozen=True)
class Partner:
    """Channels of a layer that are multiplied with those of another layer, and summed over.

    Attributes:
        channels: ``[n]``, those of the layer.
        layer: the other layer.
        others: ``[m, n]``, its channels that channel ``i`` is multiplied with, in ``m`` products.
    """

    channels: Tensor
    layer: Layer
    others: Tensor


def find_products(
    analysis: Analysis, layers: Sequence[Layer], inputs: Sequence[Any]
) -> Mapping[Layer, tuple[Partner, ...]]:
    """Find the layers whose outputs go into products with other layers' outputs, and nowhere else.

    Args:
        analysis: the analysis of the graph.
        layers: its layers.
        inputs: a batch of its inputs, which it is run on.
    """
    own = {
        layer.end: layer for layer in layers if layer.calls == 1 and regression_sizes(layer)[0] == 1
    }
    products = {
        node: found
        for node in analysis.facts
        if (found := _operands(analysis, node, own)) is not None
    }
    if not products:
        return {}
    sources = {layer.end: layer for pair in products.values() for _, _, layer in pair}
    numbers = _Numbers(analysis.module, sources)
    run(numbers, inputs)
    partners: dict[Layer, list[Partner]] = {}
    for (mine, dim, layer), (others, other_dim, other) in products.values():
        first, second = (
            _rows(numbers.of[node], d) for node, d in ((mine, dim), (others, other_dim))
        )
        if first is None or second is None or len(first) != len(second):
            continue
        for channels in first.unique(dim=0):
            same = (first == channels).all(1)
            partners.setdefault(layer, []).append(Partner(channels, other, second[same]))
    return {layer: tuple(found) for layer, found in partners.items() if _apart(found)}


_Operand = tuple[fx.Node, int, Layer]
"""The operand of a product, the dimension that is summed over, and the layer whose output it is."""


def _operands(
    analysis: Analysis, node: fx.Node, layers: Mapping[fx.Node, Layer]
) -> tuple[_Operand, _Operand] | None:
    """Return the operand that loses channels in a call, and the one that it is multiplied with."""
    contractions = analysis.facts[node].contractions
    if len(contractions) != 1:
        return None
    (only,) = contractions
    call, axis = bind(node), analysis.labels.resolve(only.axis)
    if only.partner is None or not axis.any():
        return None
    name, dim, item = only.partner
    other = call[name] if item is None else call[name][item]
    found = [(only.operand(call), only.dim), (other, dim)]
    if not all(isinstance(operand, fx.Node) for operand, _ in found):
        return None
    ends = [_source(operand, layers) for operand, _ in found]
    if any(end is None or _readers(end) != {node} for end in ends):
        return None
    first, second = (
        (operand, d, layers[end]) for (operand, d), end in zip(found, ends, strict=True) if end
    )
    return first, second


def _moved(node: fx.Node) -> fx.Node | None:
    """Return the value whose elements a call moves, or multiplies by one number; ``None`` for other calls."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    traits = traits_of(node)
    if _only_moves(node):
        return node.args[0]
    scales = traits.arithmetic == "product" or traits.quotient
    if scales and not any(isinstance(x, fx.Node) for x in node.args[1:]):
        return node.args[0]
    return None


def _only_moves(node: fx.Node) -> bool:
    """Whether every element of a call's result is one of its first operand."""
    traits = traits_of(node)
    return node.target is operator.getitem or traits.moves or traits.view or traits.identity


def _source(operand: fx.Node, layers: Mapping[fx.Node, Layer]) -> fx.Node | None:
    """Return the end of the layer that an operand's elements are from."""
    node: fx.Node | None = operand
    while node is not None and node not in layers:
        node = _moved(node)
    return node


def _readers(node: fx.Node) -> set[fx.Node]:
    """Return the calls that read a value's elements, through those that move them."""
    found: set[fx.Node] = set()
    for user in node.users:
        if traits_of(user).metadata:
            continue
        found |= _readers(user) if _moved(user) is node else {user}
    return found


class _Numbers(fx.Interpreter):
    """Runs a graph, and beside it moves the numbers of the channels of some layers."""

    def __init__(self, module: fx.GraphModule, layers: Mapping[fx.Node, Layer]) -> None:
        super().__init__(module)
        self._layers = layers
        self.of: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        source = _moved(n)
        if n in self._layers:
            channel = self._layers[n].channel
            size = [1] * result.ndim
            size[channel] = result.shape[channel]
            numbers = torch.arange(result.shape[channel])
            self.of[n] = numbers.view(size).expand(result.shape).contiguous()
        elif source in self.of:
            moves = _only_moves(n)
            self.of[n] = self._moved_numbers(n, source) if moves else self.of[source]
        return result

    def _moved_numbers(self, node: fx.Node, source: fx.Node) -> Any:
        def value(each: fx.Node) -> Any:
            return self.of[source] if each is source else self.env[each]

        args, kwargs = fx.map_arg((node.args, node.kwargs), value)
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _rows(numbers: Tensor, dim: int) -> Tensor | None:
    """Return the channels that are summed over in each product of a sample, ``[products, n]``.

    ``None`` unless they are the same for every sample and position: all dimensions but the first and the two
    last, such as heads, count the products.
    """
    dim %= numbers.ndim
    if numbers.ndim < 3 or dim < numbers.ndim - 2:
        return None
    moved = numbers.movedim(dim, -1)
    whole = moved[:1, ..., :1, :].expand_as(moved)
    if not torch.equal(moved, whole):
        return None
    return moved[0, ..., 0, :].reshape(-1, moved.shape[-1]).long()


def _apart(partners: Sequence[Partner]) -> bool:
    """Whether no channel belongs to two products."""
    numbers = torch.cat([each.channels for each in partners])
    return len(numbers.unique()) == len(numbers)


def compensation(
    partners: Sequence[Partner], channels: Tensor, moments: Sequence[Tensor]
) -> Tensor:
    """Return what makes the best output of a layer's remaining channels of its dense output, ``[out, kept]``.

    Args:
        partners: those of the layer.
        channels: mask ``[out]`` of the channels that are kept.
        moments: ``[n, n]``, the ``second_moment`` of each partner.
    """
    place = channels.cumsum(0) - 1
    mix = torch.eye(len(channels), dtype=torch.float64)[:, channels]
    for each, gram in zip(partners, moments, strict=True):
        alive = channels[each.channels]
        if alive.all() or not alive.any():
            continue
        left = gram[alive][:, alive]
        energy = left.diagonal().mean()
        if not energy > 0:  # nothing that these could make up for is ever multiplied with them
            continue
        left = left + RIDGE * energy * torch.eye(len(left), dtype=torch.float64)
        best = torch.linalg.solve(left, gram[alive]).T
        mix[each.channels[:, None], place[each.channels[alive]]] = best
    return mix


def second_moment(partner: Partner, outputs: Iterable[Tensor]) -> Tensor:
    """Return the second moment ``[n, n]`` of the channels that a partner is multiplied with, over all processes.

    Args:
        partner: the channels.
        outputs: dense outputs ``[rows, out]`` of the other layer, of each batch.
    """
    size = len(partner.channels)
    gram = torch.zeros(size, size, dtype=torch.float64)
    for rows in outputs:
        taken = wide(rows[:, partner.others.to(rows.device)]).flatten(0, 1)
        gram += (taken.T @ taken).to(gram)
    return sum_over_processes(gram)
