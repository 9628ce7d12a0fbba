"""Filters that produce the channels of a group: weights and biases, with BatchNorm folded in.

A filter is ``x -> w . x + b`` in each layer that produces the channel. A BatchNorm that would
fold into that layer scales ``w`` and shifts ``b``. Weights that the program computes from stored tensors, such as
quantised ones, are what they come to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group, Occurrence
from graphprune.cut.baked_weights import baked_results, baked_sources
from graphprune.ir.nodes import bind
from graphprune.ops import form_of
from graphprune.ops.float64 import to_float64
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.batchnorm.fold import scale_and_shift
from graphprune.passes.batchnorm.sites import Sites
from graphprune.passes.batchnorm.weight_groups import grouped

from .interpreter import rows_of

__all__ = ["FilterFinder", "Filters", "gram"]


@dataclass(frozen=True)
class Filters:
    """Filters of one layer for the channels of a group.

    Attributes:
        weights: ``[width, features]``, float64.
        biases: ``[width, m]``, float64; a channel has m rows of the layer's output.
    """

    weights: torch.Tensor
    biases: torch.Tensor


@dataclass(frozen=True)
class FilterFinder:
    """Finder of the filters that produce a group's channels.

    Attributes:
        analysis: the analysis of the dense program.
    """

    analysis: Analysis

    @cached_property
    def _affines(self) -> dict[fx.Node, tuple[fx.Node, torch.Tensor, torch.Tensor]]:
        """Layer -> the BatchNorm that folds into it, with its scale and shift."""
        module = self.analysis.module
        sites = Sites(module)
        found: dict[fx.Node, tuple[fx.Node, torch.Tensor, torch.Tensor]] = {}
        for bn in module.graph.find_nodes(op="call_function", target=BATCH_NORM):
            site = sites.of(bn)
            if site is not None and not site.after:
                found[site.layers[0]] = (bn, *scale_and_shift(bn, self.analysis.tensors))
        return found

    @property
    def folded(self) -> frozenset[fx.Node]:
        """BatchNorm calls that are folded into filters."""
        return frozenset(bn for bn, _, _ in self._affines.values())

    def _contracted(self, group: Group) -> set[tuple[str, int]]:
        """Return the axes of stored tensors that are contracted over the group's channels."""
        labels = self.analysis.labels
        return {
            (str(operand.target), contraction.dim)
            for node, facts in self.analysis.facts.items()
            for contraction in facts.contractions
            if isinstance(operand := contraction.operand(bind(node)), fx.Node)
            and operand.op == "get_attr"
            and np.isin(labels.resolve(contraction.axis), group.labels).any()
        }

    def of(
        self, group: Group, tensors: Mapping[str, torch.Tensor] | None = None
    ) -> tuple[list[Filters], list[torch.Tensor]]:
        """Return the filters of a group, and the other stored values along its channels.

        Args:
            group: a group of the analysis.
            tensors: values in place of the stored ones, by name.

        Returns:
            The filters of each layer that produces the group; and ``[width, n]`` of each other
            tensor that has the channels on an axis and isn't contracted over them.
        """
        values = {**self.analysis.tensors, **(tensors or {})}
        filters: list[Filters] = []
        used, contracted = set[str](), self._contracted(group)
        for node, rows in self._producers(group):
            filters.append(self._filters_of(node, rows, values))
            used |= set(baked_sources(self.analysis, self._stored(node)))
            if node in self._affines:
                used |= set(baked_sources(self.analysis, self._stored(self._affines[node][0])))
        others = [
            _rows(o, values)
            for o in group.occurrences
            if o.tensor not in used and (o.tensor, o.dim) not in contracted
        ]
        return filters, others

    def comparable(self, group: Group) -> list[Filters]:
        """Return the filters to compare; where no layer produces the group, rows of its other tensors.

        If there are none either, rows of the tensors that are contracted.
        """
        filters, others = self.of(group)
        if not filters and not others:
            tensors = self.analysis.tensors
            others = [_rows(o, tensors) for o in group.occurrences]
        return filters or [Filters(w, w.new_zeros(len(w), 1)) for w in others]

    def _producers(self, group: Group) -> Iterator[tuple[fx.Node, NDArray[np.int64]]]:
        """Yield the layers with the group on their outputs but not, uncontracted, on their inputs."""
        labels = self.analysis.labels
        for node, facts in self.analysis.facts.items():
            form = form_of(node)
            if form is None or not form.is_layer or not isinstance(facts.result, tuple):
                continue
            call = bind(node)
            if call["weight"] not in self._stored(node) or node.meta["val"].is_complex():
                continue
            found = [
                rows
                for axis in facts.result
                if (rows := rows_of(labels.resolve(axis), group)) is not None
            ]
            read = any(
                rows_of(labels.resolve(c.axis), group) is not None for c in facts.contractions
            )
            layout = self.analysis.layouts[call["input"]]
            passed = isinstance(layout, tuple) and any(
                rows_of(labels.resolve(axis), group) is not None for axis in layout
            )
            if found and (read or not passed):
                yield node, found[0]

    def _filters_of(
        self, node: fx.Node, rows: NDArray[np.int64], values: Mapping[str, torch.Tensor]
    ) -> Filters:
        call = bind(node)
        weights = grouped(node, self._value(call["weight"], values))
        weights = weights.flatten(2).flatten(0, 1)
        biases = weights.new_zeros(len(weights))
        if call["bias"] in self._stored(node):
            biases = self._value(call["bias"], values)
        if node in self._affines:
            _, scale, shift = self._affines[node]
            scale, shift = scale.to(weights), shift.to(weights)
            weights, biases = weights * scale[:, None], biases * scale + shift
        index = torch.from_numpy(rows).to(weights.device)
        return Filters(weights[index].flatten(1), biases[index])

    def _stored(self, node: fx.Node) -> list[fx.Node]:
        """List the operands of a call that are stored, or computed from what is."""
        computed = self.analysis.constant_calls
        return [n for n in node.all_input_nodes if n.op == "get_attr" or n in computed]

    def _value(self, node: fx.Node, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return an operand that is stored, or computed from what is, in float64."""
        if node.op == "get_attr":
            return values[str(node.target)].detach().double()
        (found,) = baked_results(self.analysis, {node: node.name}, values)
        return found


def _rows(place: Occurrence, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Take what a tensor holds for each channel of a group: ``[rows, features]``, float64."""
    wide = to_float64(tensors[place.tensor].detach()).movedim(place.dim, 0)
    rows = wide[torch.from_numpy(place.rows)].flatten(1)
    return torch.view_as_real(rows).flatten(1) if rows.is_complex() else rows.double()


def gram(rows: torch.Tensor) -> NDArray[np.float64]:
    """Return the Gram matrix of rows: inner products ``[n, n]``."""
    return (rows @ rows.T).cpu().numpy()
