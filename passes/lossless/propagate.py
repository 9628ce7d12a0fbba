"""Follow relations between channels through a graph, call by call, on random operands.

Every call runs alone, in float64, on operands drawn anew: random but for the relations that are known
of them. Draws come with both signs and in several sizes, so that a ReLU doesn't look dead because
its operand happens to be negative. What the result then has in common is what the weights prove.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.ir.nodes import bind, is_continuous
from graphprune.ir.private_torch import pytree
from graphprune.ops import form_of
from graphprune.ops.facts import axes_of
from graphprune.ops.float64 import Float64Interpreter
from graphprune.passes.batchnorm.weight_groups import grouped
from graphprune.passes.prune.homogeneity import zero_inputs

from .combinations import combinations
from .places import Known, Place, place_of
from .relations import MARGIN, joined, partition, surviving

__all__ = ["find_relations"]

SIZES = (1.0, 30.0, 0.1)
"""Sizes of the operands drawn, each with both signs."""

MOST_DRAWS = 48
"""Most draws of a call. A relation that needs more samples to be seen is dropped."""


def find_relations(analysis: Analysis) -> Mapping[tuple[fx.Node, str], Known]:
    """Find the relations of every group at every value that is a single tensor.

    Args:
        analysis: of the dense program.

    Returns:
        By the node of the value and the id of the group; absent where nothing is known.
    """
    run = _Tracer(analysis)
    with torch.no_grad():
        run.run(*zero_inputs(analysis), enable_io_processing=False)
    return {(node, group): known for (node, item, group), known in run.known.items() if item < 0}


class _Tracer(Float64Interpreter):
    """Runs the graph on zeros for the shapes, and tries every call on random operands."""

    def __init__(self, analysis: Analysis) -> None:
        super().__init__(analysis.module)
        self.known: dict[tuple[fx.Node, int, str], Known] = {}
        self._analysis = analysis
        self._groups = {group.id: group for group in analysis.groups}
        self._generator = torch.Generator().manual_seed(0)
        self._fixed = analysis.constant_calls

    def run_node(self, n: fx.Node) -> Any:
        """Try a call, then run it."""
        if n.op == "call_function" and n in self._analysis.layouts and n not in self._fixed:
            self._try(n)
        return super().run_node(n)

    def _try(self, node: fx.Node) -> None:
        names = self._analysis.groups_on(axes_of(self._analysis.layouts[node]))
        values = [n for n in node.all_input_nodes if self._varies(n)]
        drawn = [n for n in values if any(map(is_continuous, pytree.tree_leaves(self.env[n])))]
        if (
            not names
            or not drawn
            or any(_is_choice(self.env[n]) or _is_complex(self.env[n]) for n in values)
        ):
            return
        places = {
            (item, name): place
            for item, layout in _items(self._analysis.layouts[node])
            for name in names
            if (place := place_of(self._analysis, layout, self._groups[name])) is not None
        }
        if not places:
            return
        single = self._samples(node, drawn, places, several=False)
        known = any(self._several(n, name) for n in drawn for name in names)
        several = self._samples(node, drawn, places, several=True) if known else {}
        for (item, name), samples in single.items():
            found = self._found(node, name, drawn, samples, several.get((item, name)))
            if len(found.several.gone) or len(found.single.gone):
                self.known[node, item, name] = found

    def _found(
        self,
        node: fx.Node,
        name: str,
        drawn: list[fx.Node],
        samples: torch.Tensor,
        several: torch.Tensor | None,
    ) -> Known:
        width, rows = samples.shape[:2]
        made = self._makes(node, name)
        brought = [k for n in drawn for k in self._brought(n, name)]
        if made:
            single = partition(samples, np.zeros(width, dtype=np.int64))
            weights = self._plain_weights(node, name) if rows == 1 else None
            return Known(
                single, single if weights is None else combinations(weights, single, samples)
            )
        classes = np.arange(width)
        if brought:
            held = [k.single.classes() if k else np.arange(width) for k in brought]
            classes = np.unique(np.stack(held), axis=1, return_inverse=True)[1].reshape(-1)
        single = partition(samples, classes)
        if several is None or not brought or any(k is None for k in brought):
            return Known(single, single)
        common = joined([k.several for k in brought if k])
        found = surviving(several, common)
        return Known(single, found if len(found.gone) > len(single.gone) else single)

    def _makes(self, node: fx.Node, name: str) -> bool:
        """Whether a call is a layer that makes the channels anew."""
        form = form_of(node)
        if form is None or not form.is_layer:
            return False
        facts, group = self._analysis.facts[node], self._groups[name]
        read = any(self._holds(c.axis, group) for c in facts.contractions)
        value = bind(node)[form.value]
        return read or name not in self._analysis.groups_on(
            axes_of(self._analysis.layouts.get(value))
        )

    def _holds(self, axis: Any, group: Group) -> bool:
        return bool(np.isin(self._analysis.labels.resolve(axis), group.labels).any())

    def _plain_weights(self, node: fx.Node, name: str) -> torch.Tensor | None:
        """Return what each channel is made with, ``[width, features]``, of a layer without groups."""
        form, call = form_of(node), bind(node)
        assert form is not None
        weight = self.env[call[form.weight]]
        wide = grouped(node, weight) if weight.ndim > 1 else None
        layout = self._analysis.layouts[node]
        place = place_of(self._analysis, layout, self._groups[name])  # type: ignore[arg-type]
        if wide is None or len(wide) != 1 or place is None or place.rows.shape[1] != 1:
            return None
        return wide.flatten(2)[0][torch.from_numpy(place.rows[:, 0])]

    def _samples(
        self,
        node: fx.Node,
        drawn: list[fx.Node],
        places: Mapping[tuple[int, str], Place],
        *,
        several: bool,
    ) -> dict[tuple[int, str], torch.Tensor]:
        """Run a call on draws, until there are enough samples of each group's channels."""
        parts: dict[tuple[int, str], list[torch.Tensor]] = {key: [] for key in places}
        wanted = self._wanted(drawn, places, several=several)
        for number in range(MOST_DRAWS):
            size = SIZES[number % len(SIZES)]
            values = {n: self._drawn(n, size) for n in drawn}
            for sign in (1.0, -1.0):
                operands = {
                    n: self._related(n, v, sign, several=several) for n, v in values.items()
                }
                results = dict(_items(self._called(node, operands)))
                for (item, name), place in places.items():
                    if is_continuous(results.get(item)) and not _is_complex(results[item]):
                        parts[item, name].append(place.channels(results[item]))
            counts = [sum(p.shape[2] for p in each) for each in parts.values()]
            if number + 1 >= len(SIZES) and all(c >= wanted for c in counts if c):
                break
        return {key: torch.cat(each, 2) for key, each in parts.items() if each}

    def _wanted(
        self, drawn: list[fx.Node], places: Mapping[tuple[int, str], Place], *, several: bool
    ) -> int:
        if not several:
            return 2 * MARGIN
        terms = [
            int((k.several.mix != 0).sum(1).max(initial=0))
            for n in drawn
            for _, name in places
            for k in self._brought(n, name)
            if k
        ]
        return 2 * MARGIN + max(terms, default=0)

    def _brought(self, node: fx.Node, name: str) -> Iterator[Known | None]:
        """Yield what is known of a group at each item of an operand that holds it."""
        for item, layout in _items(self._analysis.layouts.get(node)):
            if name in self._analysis.groups_on(layout):
                yield self.known.get((node, item, name))

    def _several(self, node: fx.Node, name: str) -> bool:
        return any(k is not None and k.several is not k.single for k in self._brought(node, name))

    def _drawn(self, node: fx.Node, size: float) -> Any:
        def random(value: Any) -> Any:
            if not is_continuous(value):
                return value
            made = torch.randn(value.shape, generator=self._generator, dtype=torch.float64)
            return (made * size).to(value)

        return pytree.tree_map(random, self.env[node])

    def _related(self, node: fx.Node, value: Any, sign: float, *, several: bool) -> Any:
        """Give an operand that was drawn the relations that are known of it."""
        made = {}
        for item, layout in _items(self._analysis.layouts.get(node)):
            tensor = value if item < 0 else value[item]
            if not is_continuous(tensor):
                continue
            made[item], dim = tensor * sign, None
            for name in self._analysis.groups_on(layout):
                known = self.known.get((node, item, name))
                place = place_of(self._analysis, layout, self._groups[name])
                if known is None or place is None or dim not in (None, place.dim):
                    continue
                dim = place.dim
                relations = known.several if several else known.single
                channels = relations.imposed(place.channels(made[item]))
                made[item] = place.put(made[item], channels)
        if not isinstance(value, list | tuple):
            return made.get(-1, value)
        return type(value)(made.get(i, v) for i, v in enumerate(value))

    def _called(self, node: fx.Node, drawn: Mapping[fx.Node, Any]) -> Any:
        def operand(n: fx.Node) -> Any:
            value = drawn.get(n, self.env[n])
            return pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, value)

        arguments: Any = fx.map_arg((node.args, node.kwargs), operand)
        return self.call_function(node.target, *arguments)

    def _varies(self, node: fx.Node) -> bool:
        """Whether a value depends on the inputs."""
        return node.op != "get_attr" and node not in self._fixed


def _is_complex(value: Any) -> bool:
    """Whether a value has complex numbers, between whose channels no relations are looked for."""
    leaves = pytree.tree_leaves(value)
    return any(isinstance(leaf, torch.Tensor) and leaf.is_complex() for leaf in leaves)


def _is_choice(value: Any) -> bool:
    """Whether a value is made of whole numbers or truth values, which a run on zeros doesn't show."""
    leaves = pytree.tree_leaves(value)
    return any(isinstance(x, torch.Tensor) and not is_continuous(x) for x in leaves)


def _items(value: Any) -> list[tuple[int, Any]]:
    """Number the items of a result that is a list; a single one is -1."""
    if isinstance(value, list) or (isinstance(value, tuple) and _of_tensors(value)):
        return list(enumerate(value))
    return [] if value is None else [(-1, value)]


def _of_tensors(value: tuple[Any, ...]) -> bool:
    return bool(value) and all(isinstance(x, torch.Tensor) for x in value)
