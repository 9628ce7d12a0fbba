"""Find what is left of a graph when whole groups of channels go.

Values that have lost all rows of an axis are *empty*, and no call needs to compute them. A call that reads an
empty value and whose own result isn't empty must be one that still means something: a convolution, linear
layer or matrix product with a stored weight sums over nothing, so that its result is its bias; a
concatenation is that of the other pieces. Any other such call, if an output needs it, is the reason why
these groups can't go whole.

The result of a layer that sums over nothing is *constant*, and so is what element-wise calls and BatchNorms make
of it: one number for each channel, which a cut stores and broadcasts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import torch
from torch import fx

from graphprune.axes.labels import Axis
from graphprune.ir.memory import writes, written_operands
from graphprune.ir.nodes import bind, functional, source_line
from graphprune.ops import form_of, passes_value_on, traits_of
from graphprune.ops.facts import axes_of
from graphprune.ops.norm import BATCH_NORM

from .emptied import Emptied, SizeSource
from .frozen import operator_of

if TYPE_CHECKING:
    from .analyse import Analysis

__all__ = ["broadcasts", "dependencies", "emptied"]


def emptied(analysis: Analysis, gone: Collection[int]) -> Emptied:
    """Find what is left of a graph without some whole groups.

    Args:
        analysis: of the graph.
        gone: numbers of the groups.
    """
    return _Without(analysis, frozenset(gone)).result()


def broadcasts(node: fx.Node, constant: fx.Node) -> bool:
    """Whether a call on a constant and other values may read it in one number for each channel.

    That is an element-wise call with another operand that has the size of the result.
    """
    if not traits_of(node).elementwise:
        return False
    in_place = constant in written_operands(node)
    if in_place and (len(constant.users) > 1 or functional(node) is None):
        return False
    size = node.meta["val"].shape
    return any(
        isinstance(value := other.meta.get("val"), torch.Tensor)
        and value.shape == size
        and value.dtype == node.meta["val"].dtype
        for other in node.all_input_nodes
        if other is not constant
    )


class _Without:
    """Follows a graph without some groups, forwards to what is empty or constant, and backwards to what is needed."""

    def __init__(self, analysis: Analysis, gone: frozenset[int]) -> None:
        self.analysis, self.gone = analysis, gone
        self.empty: set[fx.Node] = set()
        self.closed: set[fx.Node] = set()
        self.constant: set[fx.Node] = set()
        self.small: set[fx.Node] = set()
        self.needed: set[fx.Node] = set()
        self.trouble = ""

    def result(self) -> Emptied:
        for node in self.analysis.nodes:
            self._forwards(node)
        self._backwards()
        stored = tuple(n for n in self.analysis.nodes if n in self.small and n in self.needed)
        spread = {node: self._sizes(node) for node in stored if self._read_in_full(node)}
        self._check_ends()
        return Emptied(
            self.gone,
            frozenset(self.empty),
            frozenset(self.closed),
            stored,
            spread,
            frozenset(self.needed),
            frozenset(self.constant),
            self.trouble,
        )

    def lost(self, axis: Axis) -> bool:
        """Whether no row of an axis is left."""
        sets = self.analysis.row_groups(axis)
        return bool(sets) and not any(self.gone.isdisjoint(groups) for groups in sets)

    def _forwards(self, node: fx.Node) -> None:
        layouts = self.analysis.layouts.get(node)
        if isinstance(layouts, list):
            if layouts and all(any(map(self.lost, layout)) for layout in layouts):
                self.empty.add(node)
        elif any(map(self.lost, axes_of(layouts))):
            self.empty.add(node)
        if node.op != "call_function" or node in self.empty:
            return
        inputs = [n for n in node.all_input_nodes if n not in self.empty]
        if len(inputs) < len(node.all_input_nodes):
            if not self._closes(node):
                return
            self.closed.add(node)
        elif (
            not any(n in self.constant for n in inputs)
            or not all(n in self.constant or _stored(n, self.analysis) for n in inputs)
            or (writes(node) and any(_overwritten(n) for n in inputs))
        ):
            return
        self.constant.add(node)
        if node in self.closed or self._stays_small(node):
            self.small.add(node)

    def _closes(self, node: fx.Node) -> bool:
        """Whether a call is a product with a stored weight that sums over nothing."""
        form, facts = form_of(node), self.analysis.facts.get(node)
        if form is None or form.kind == "norm" or facts is None:
            return False
        call = bind(node)
        bias = call[form.bias] if form.bias else None
        dims = {
            c.dim for c in facts.contractions if c.argument == form.weight and self.lost(c.axis)
        }
        return (
            bool(dims)
            and call[form.weight].meta["val"].ndim > 1
            and _stored(call[form.weight], self.analysis)
            and (bias is None or _stored(bias, self.analysis))
        )

    def _stays_small(self, node: fx.Node) -> bool:
        """Whether a call on constants gives one number for each channel where these are that."""
        inputs = node.all_input_nodes
        if any(n in self.constant and (n not in self.small or _overwritten(n)) for n in inputs):
            return False
        if node.target is BATCH_NORM:
            return bind(node)["training"] is False and inputs[0] in self.small
        whole = all(
            isinstance(n.meta.get("val"), torch.Tensor)
            and (n in self.small or n.meta["val"].numel() == max(n.meta["val"].shape, default=1))
            for n in inputs
        )
        return whole and (traits_of(node).elementwise or passes_value_on(node))

    def _backwards(self) -> None:
        nodes = self.analysis.nodes
        for node in reversed(nodes):
            if node.op in ("output", "placeholder") or self._is_lone_write(node):
                self.needed.add(node)
            if node not in self.needed or node in self.small:
                continue
            if node in self.empty:
                self._note(node, "an output is left without channels")
            for source in node.all_input_nodes:
                if source not in self.empty:
                    self.needed.add(source)
                elif not traits_of(node).concatenates:
                    self._note(node, "")

    def _is_lone_write(self, node: fx.Node) -> bool:
        """Whether a call writes into a value that others read through another node."""
        if node in self.empty or node in self.constant or not writes(node):
            return False
        return not node.users or any(map(_overwritten, written_operands(node)))

    def _note(self, node: fx.Node, problem: str) -> None:
        where = source_line(node)
        at = f" ({where})" if where else ""
        self.trouble = self.trouble or problem or f"{operator_of(node)}{at} needs channels"

    def _read_in_full(self, node: fx.Node) -> bool:
        return any(
            user in self.needed and user not in self.small and not broadcasts(user, node)
            for user in node.users
        ) or _overwritten(node)

    def _sizes(self, node: fx.Node) -> tuple[SizeSource | None, ...]:
        """Find where the sizes of a value that are known only at run time can be read; ``None`` for fixed ones."""
        return tuple(
            self._source(node, size) if isinstance(size, torch.SymInt) else None
            for size in node.meta["val"].shape
        )

    def _source(self, node: fx.Node, size: torch.SymInt) -> SizeSource | None:
        for other in self.analysis.nodes:
            if other is node:
                break
            value = other.meta.get("val")
            if not isinstance(value, torch.Tensor) or not (
                other.op == "placeholder" or (other in self.needed and other not in self.small)
            ):
                continue
            for dim, own in enumerate(value.shape):
                if isinstance(own, torch.SymInt) and own.node.expr == size.node.expr:
                    return SizeSource(other, dim)
        self._note(node, f"the size {size} of what is left is known from no other value")
        return None

    def _check_ends(self) -> None:
        """Note the outputs that would no longer depend on all inputs that they depend on now."""
        before = self.analysis.dependencies
        after = dependencies(self.analysis, lambda n: n in self.needed and n not in self.constant)
        if before != after:
            lost = sorted({place for _, place in before - after})
            self.trouble = self.trouble or (
                f"{', '.join(lost)} would no longer depend on the inputs it depends on"
            )


def dependencies(analysis: Analysis, alive: Callable[[fx.Node], bool]) -> set[tuple[fx.Node, str]]:
    """List the pairs of an input and an output that depends on it, through nodes that are alive."""
    found: set[tuple[fx.Node, str]] = set()
    output = analysis.nodes[-1]
    for number, end in enumerate(output.all_input_nodes):
        seen: set[fx.Node] = set()
        stack = [end]
        while stack:
            node = stack.pop()
            if node in seen or not alive(node) or traits_of(node).metadata:
                continue
            seen.add(node)
            if node.op == "placeholder":
                found.add((node, f"output {number}"))
            stack += node.all_input_nodes
    return found


def _overwritten(node: fx.Node) -> bool:
    """Whether a call writes into a value that is read through its own node afterwards."""
    writers = [user for user in node.users if node in written_operands(user)]
    return any(len(node.users) > 1 or not user.users for user in writers)


def _stored(node: fx.Node, analysis: Analysis) -> bool:
    return node.op == "get_attr" or node in analysis.constant_calls
