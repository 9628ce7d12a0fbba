"""Test which calls are positively homogeneous: scaling a channel scales their result alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.ir.nodes import is_continuous
from graphprune.ir.private_torch import pytree
from graphprune.ir.sizes import shape
from graphprune.ops.facts import axes_of
from graphprune.ops.float64 import Float64Interpreter, float64_type

__all__ = ["non_homogeneous_groups", "zero_inputs"]

FACTOR = 1024.0
"""Scale that is tried: large, so that saturating functions saturate, and a power of two, so that nothing rounds."""

TOLERANCE = 1e-9
"""Largest error of a scaled result that counts as rounding, relative to its largest element; float64."""


def non_homogeneous_groups(analysis: Analysis, folded: frozenset[fx.Node]) -> frozenset[str]:
    """Return the ids of groups whose channels pass a call that isn't positively homogeneous.

    Every call whose result holds channels of an operand is tried in float64 on random values: does scaling those of
    its operands that hold the channels scale its result? In ReLU, pooling, reshapes and sums of the channels it does;
    in GELU, clamps, sums with anything else and products of two activations it doesn't.

    Args:
        analysis: the analysis of the dense program.
        folded: BatchNorm calls that count as part of the layer before, and aren't tried.
    """
    run = _HomogeneityTest(analysis, folded)
    with torch.no_grad():
        run.run(*zero_inputs(analysis), enable_io_processing=False)
    return frozenset(run.found)


class _HomogeneityTest(Float64Interpreter):
    def __init__(self, analysis: Analysis, folded: frozenset[fx.Node]) -> None:
        super().__init__(analysis.module)
        self._folded = folded
        self.found: set[str] = set()
        self._analysis = analysis
        self._generator = torch.Generator().manual_seed(0)

    def run_node(self, n: fx.Node) -> Any:
        """Test a call for homogeneity, then run it."""
        tried = n in self._analysis.facts and n not in self._folded
        passed = self._passed(n) if tried else set[str]()
        if passed and not self._is_homogeneous(n, passed):
            self.found |= passed
        return super().run_node(n)

    def _passed(self, node: fx.Node) -> set[str]:
        """Return the groups that an activation operand and the result both hold."""
        brought = [self._groups(n) for n in self._activations(node)]
        return set().union(*brought) & self._groups(node) - self._contracted(node)

    def _activations(self, node: fx.Node) -> list[fx.Node]:
        """List the operands that are neither stored nor computed from what is."""
        stored = self._analysis.constant_calls
        return [n for n in node.all_input_nodes if n.op != "get_attr" and n not in stored]

    def _contracted(self, node: fx.Node) -> set[str]:
        return set(
            self._analysis.groups_on(c.axis for c in self._analysis.facts[node].contractions)
        )

    def _groups(self, node: fx.Node) -> set[str]:
        return set(self._analysis.groups_on(axes_of(self._analysis.layouts.get(node))))

    def _is_homogeneous(self, node: fx.Node, passed: set[str]) -> bool:
        activations = self._activations(node)
        drawn = {n: pytree.tree_map(self._random, self.env[n]) for n in activations}
        held = {n for n in activations if self._groups(n) & passed}
        plain = self._called(node, drawn, dict.fromkeys(held, 1.0))
        scaled = self._called(node, drawn, dict.fromkeys(held, FACTOR))
        return all(_is_scaled(a, b) for a, b in zip(plain, scaled, strict=True))

    def _random(self, value: Any) -> Any:
        if not is_continuous(value):
            return value
        return torch.randn(value.shape, generator=self._generator, dtype=value.dtype).to(value)

    def _called(
        self, node: fx.Node, drawn: Mapping[fx.Node, Any], factors: Mapping[fx.Node, float]
    ) -> list[Any]:
        def operand(n: fx.Node) -> Any:
            value = drawn.get(n, self.env[n])
            return pytree.tree_map(lambda x: _times(x, factors.get(n, 1.0)), value)

        arguments: Any = fx.map_arg((node.args, node.kwargs), operand)
        return pytree.tree_leaves(self.call_function(node.target, *arguments))


def _times(value: Any, factor: float) -> Any:
    """Return a scaled copy, since calls may write into their operands."""
    if not isinstance(value, torch.Tensor):
        return value
    return value * factor if is_continuous(value) else value.clone()


def _is_scaled(plain: Any, scaled: Any) -> bool:
    if not is_continuous(plain):
        return True
    bound = TOLERANCE * FACTOR * float(plain.abs().max()) if plain.numel() else 0.0
    return bool(((scaled - FACTOR * plain).abs() <= bound).all())


def zero_inputs(analysis: Analysis) -> list[Any]:
    """Make zeros in the shapes of the example inputs: only the shapes of values matter here."""
    values: list[Any] = []
    for node in analysis.module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        values.append(
            torch.zeros(shape(node), dtype=value.dtype).to(float64_type(value.dtype))
            if isinstance(value, torch.Tensor)
            else value
        )
    return values
