"""Find what constants in the channels that a layer reads give to its results, and which stored tensor can take that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.ir.nodes import bind, is_continuous
from graphprune.ir.sizes import shape
from graphprune.ops import form_of
from graphprune.ops.float64 import Float64Interpreter, to_float64
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.batchnorm.sites import Sites

from .places import Place
from .relations import Relations, constants

__all__ = ["Shifts"]


class Shifts:
    """Shifts of the results of layers: one number for each output, where all positions see the same.

    Args:
        analysis: of the dense program.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    @cached_property
    def _uses(self) -> Counter[int]:
        """Count the calls that read each stored tensor, under any of its names."""
        uses: Counter[int] = Counter()
        for node in self._analysis.module.graph.find_nodes(op="get_attr"):
            tensor = self._analysis.tensors.get(str(node.target))
            if tensor is not None:
                uses[id(tensor)] += len(node.users)
        return uses

    def is_own(self, node: Any) -> bool:
        """Whether a node is a stored tensor that one call reads."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return False
        tensor = self._analysis.tensors.get(str(node.target))
        return is_continuous(tensor) and self._uses[id(tensor)] == 1

    @cached_property
    def _batchnorms(self) -> Mapping[fx.Node, fx.Node]:
        """Layer -> the BatchNorm that folds into it."""
        module = self._analysis.module
        sites, found = Sites(module), dict[fx.Node, fx.Node]()
        for bn in module.graph.find_nodes(op="call_function", target=BATCH_NORM):
            site = sites.of(bn)
            if site is not None and not site.after:
                found[site.layers[0]] = bn
        return found

    def taker(self, node: fx.Node) -> tuple[str, float] | None:
        """Return the tensor that a constant in a layer's result can be added to, and with which sign."""
        form, call = form_of(node), bind(node)
        assert form is not None
        bias = call.get(form.bias) if form.bias else None
        if isinstance(bias, fx.Node) and self.is_own(bias) and call.get("beta", 1) == 1:
            return str(bias.target), 1.0
        bn = self._batchnorms.get(node)
        if bias is None and bn is not None and self.is_own(bind(bn)["running_mean"]):
            return str(bind(bn)["running_mean"].target), -1.0
        return None

    def of(
        self, node: fx.Node, place: Place, relations: Relations, *, random: bool = False
    ) -> torch.Tensor | None:
        """Compute what the offsets of dependent channels give to each output of a layer.

        Args:
            node: the layer.
            place: of the group in what it reads.
            relations: with the offsets.
            random: try random numbers in place of the offsets that aren't zero.

        Returns:
            ``[out]``; ``None`` if positions differ.
        """
        form = form_of(node)
        assert form is not None
        offset = torch.from_numpy(relations.offset)
        if random:
            generator = torch.Generator().manual_seed(0)
            drawn = torch.randn(offset.shape, generator=generator, dtype=torch.float64)
            offset = torch.where(offset != 0, drawn, 0.0)
        value = torch.zeros(shape(bind(node)[form.value]), dtype=torch.float64)
        channels = place.channels(value)
        channels[torch.from_numpy(relations.gone)] = offset[:, :, None].expand(
            -1, -1, channels.shape[2]
        )
        result = self._run(node, place.put(value, channels))
        outputs = result.movedim(form.channel, 0).flatten(1)
        return outputs[:, 0] if constants(outputs[:, None]).all() else None

    def _run(self, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
        """Run a layer in float64 on a value, with its weight and without its bias."""
        form, call = form_of(node), bind(node)
        assert form is not None

        def operand(n: fx.Node) -> Any:
            if n is call[form.value]:
                return value
            tensor = to_float64(self._analysis.tensors[str(n.target)].detach().cpu())
            return tensor if n is call[form.weight] else torch.zeros_like(tensor)

        arguments: Any = fx.map_arg((node.args, node.kwargs), operand)
        return Float64Interpreter(self._analysis.module).call_function(node.target, *arguments)
