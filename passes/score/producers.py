"""What makes the channels of a group: the weights and biases of its units, BatchNorm folded in.

A unit is ``x -> w . x + b`` for each layer that produces the channel. A BatchNorm that would
fold into that layer scales ``w`` and shifts ``b``.
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
from graphprune.analysis.groups import Group
from graphprune.ir.nodes import bind
from graphprune.ops import form_of
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.batchnorm.fold import grouped, scale_and_shift
from graphprune.passes.batchnorm.sites import Sites

from .interpreter import rows_of

__all__ = ["FilterFinder", "Filters", "gram"]


@dataclass(frozen=True)
class Filters:
    """The channels of a group as one layer makes them.

    Attributes:
        weights: ``[width, features]``, float64.
        biases: ``[width, m]``, float64; m rows of the layer's output go with a channel.
    """

    weights: torch.Tensor
    biases: torch.Tensor


@dataclass(frozen=True)
class FilterFinder:
    """Finds the units of groups.

    Attributes:
        analysis: of the dense program.
    """

    analysis: Analysis

    @cached_property
    def _affines(self) -> dict[fx.Node, tuple[fx.Node, torch.Tensor, torch.Tensor]]:
        """Layer -> the BatchNorm that folds into it, its scale and shift."""
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
        """The calls of BatchNorm that are part of a unit."""
        return frozenset(bn for bn, _, _ in self._affines.values())

    def _contracted(self, group: Group) -> set[tuple[str, int]]:
        """Axes of stored tensors that are contracted over the group's channels."""
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
        """The units of a group, and the other stored values along its channels.

        Args:
            group: of the analysis.
            tensors: values in place of the stored ones.

        Returns:
            One unit for each layer that produces the group; and ``[width, n]`` of each other
            tensor that holds something of the channels and isn't contracted over them.
        """
        values = {**self.analysis.tensors, **(tensors or {})}
        units: list[Filters] = []
        used, contracted = set[str](), self._contracted(group)
        for node, rows in self._producers(group):
            units.append(self._unit(node, rows, values))
            used |= {str(n.target) for n in node.all_input_nodes if n.op == "get_attr"}
            if node in self._affines:
                bn = self._affines[node][0]
                used |= {str(n.target) for n in bn.all_input_nodes if n.op == "get_attr"}
        others = [
            values[o.tensor]
            .detach()
            .double()
            .movedim(o.dim, 0)[torch.from_numpy(o.rows)]
            .flatten(1)
            for o in group.occurrences
            if o.tensor not in used and (o.tensor, o.dim) not in contracted
        ]
        return units, others

    def rows(self, group: Group) -> list[Filters]:
        """Units to compare: of the layers, or of other tensors where no layer produces the group.

        Failing that too, of the tensors that are contracted.
        """
        units, others = self.of(group)
        if not units and not others:
            tensors = self.analysis.tensors
            others = [
                tensors[o.tensor]
                .detach()
                .double()
                .movedim(o.dim, 0)[torch.from_numpy(o.rows)]
                .flatten(1)
                for o in group.occurrences
            ]
        return units or [Filters(w, w.new_zeros(len(w), 1)) for w in others]

    def _producers(self, group: Group) -> Iterator[tuple[fx.Node, NDArray[np.int64]]]:
        """Layers with the group on their outputs but not, uncontracted, on their inputs."""
        labels = self.analysis.labels
        for node, facts in self.analysis.facts.items():
            form = form_of(node)
            if form is None or not form.is_layer or not isinstance(facts.result, tuple):
                continue
            call = bind(node)
            if call["weight"].op != "get_attr":
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

    def _unit(
        self, node: fx.Node, rows: NDArray[np.int64], values: Mapping[str, torch.Tensor]
    ) -> Filters:
        call = bind(node)
        weights = grouped(node, values[call["weight"].target].detach().double())
        weights = weights.flatten(2).flatten(0, 1)
        biases = weights.new_zeros(len(weights))
        if isinstance(call["bias"], fx.Node) and call["bias"].target in values:
            biases = values[str(call["bias"].target)].detach().double()
        if node in self._affines:
            _, scale, shift = self._affines[node]
            scale, shift = scale.to(weights), shift.to(weights)
            weights, biases = weights * scale[:, None], biases * scale + shift
        index = torch.from_numpy(rows).to(weights.device)
        return Filters(weights[index].flatten(1), biases[index])


def gram(rows: torch.Tensor) -> NDArray[np.float64]:
    """``[n, n]``: inner products of rows."""
    return (rows @ rows.T).cpu().numpy()
