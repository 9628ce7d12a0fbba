"""Values of weights that are stored as integers, such as quantised ones, for criteria that look at weights.

The integers alone say little: each row may have a scale of its own. What counts is the weight that
is computed from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group, Occurrence
from graphprune.cut.baked_weights import baked_results, baked_sources

from .interpreter import rows_of

__all__ = ["IntegerWeights"]


@dataclass(frozen=True)
class IntegerWeights:
    """Weights that a program computes from stored integers and no parameter.

    Attributes:
        analysis: of the dense program.
    """

    analysis: Analysis

    @cached_property
    def values(self) -> dict[fx.Node, torch.Tensor]:
        """The weights, by the calls that hand them to an activation's call: dense, in float64."""
        calls = {node: node.name for node in self.analysis.module.graph.nodes if self._is_one(node)}
        if not calls:
            return {}
        return dict(zip(calls, baked_results(self.analysis, calls, None), strict=True))

    def of(self, group: Group) -> Iterator[tuple[torch.Tensor, Occurrence]]:
        """Yield the weights that have a group's channels on an axis, with the rows of each channel."""
        for node, value in self.values.items():
            layout = self.analysis.layouts[node]
            for dim, axis in enumerate(layout if isinstance(layout, tuple) else ()):
                rows = rows_of(self.analysis.labels.resolve(axis), group)
                if rows is not None:
                    yield value, Occurrence(node.name, dim, rows)

    def _is_one(self, node: fx.Node) -> bool:
        stored = self.analysis.constant_calls
        if node not in stored or all(user in stored for user in node.users):
            return False
        if not isinstance(node.meta.get("val"), torch.Tensor):
            return False
        sources = [self.analysis.tensors[name] for name in baked_sources(self.analysis, [node])]
        learned = any(isinstance(source, torch.nn.Parameter) for source in sources)
        return not learned and any(not source.is_floating_point() for source in sources)
