"""Rows of layers that no output depends on, such as those of tokens that fill up a sentence.

Attention and pooling multiply such rows by zero, so that what a layer gives there is of no account: to score and to fit
layers by them would spend channels and weights on noise. They are found by the gradients of random projections of the outputs.
As a ReLU or a maximum has gradients of zero where other weights would not, that isn't enough: in a second run the rows
are given the values of other rows, in all layers at once, and no output may change.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd.graph import allow_mutation_on_saved_tensors

from graphprune.ir.devices import CPU, put
from graphprune.ir.run_on_device import DeviceInterpreter
from graphprune.verify.graph_runs import error, run

from .layers import Layer
from .split_batch import parts

__all__ = ["UsedRows"]

logger = logging.getLogger(__name__)

CHUNK = 4
"""Samples per backward pass, where batches can be split."""

TRIED = 8
"""Samples of the first batch by which a network is tried."""

WORTH = 0.05
"""Least share of the rows of some layer that must be unused in them; fewer aren't worth the runs."""

TOLERANCE = 1e-5
"""Relative error of the outputs, in float32, that counts as none."""


@dataclass(frozen=True)
class UsedRows:
    """Find the rows of layers that outputs depend on, batch by batch.

    Attributes:
        module: the dense graph.
        layers: whose rows are looked at.
        split: which inputs are split into samples, see ``batched_inputs``.
        device: where the graph runs.
    """

    module: fx.GraphModule
    layers: Sequence[Layer]
    split: Sequence[bool]
    device: torch.device = CPU

    def are_worth_it(self, batch: Sequence[Any]) -> bool:
        """Whether layers have unused rows in the first samples of a batch, and not just a few."""
        some = [x[:TRIED] if s else x for x, s in zip(batch, self.split, strict=True)]
        return any(float((~used).float().mean()) >= WORTH for used in self.of(some).values())

    def of(self, batch: Sequence[Any]) -> dict[Layer, Tensor]:
        """Return a mask of the rows that are used, for each layer that has others.

        Args:
            batch: flat inputs, on the device.

        Returns:
            Boolean masks in the shape of the layer's output without its channels. Empty where some rows only seem to be unused,
            or where there are no gradients.
        """
        found: dict[Layer, list[Tensor]] = {}
        for part in parts(batch, self.split, CHUNK):
            try:
                gradients = self._tap.gradients(part)
            # There is no derivative, or one of several views is written into.
            except RuntimeError as failure:
                logger.info("unused rows can't be looked for: %s", failure)
                return {}
            for layer, gradient in gradients.items():
                used = (gradient.movedim(layer.channel, -1) != 0).any(-1)
                found.setdefault(layer, []).append(used)
        joined = {layer: _joined(layer, masks) for layer, masks in found.items()}
        some = {layer: mask for layer, mask in joined.items() if not bool(mask.all())}
        return some if some and self._are_unused(some, batch) else {}

    def _are_unused(self, used: Mapping[Layer, Tensor], batch: Sequence[Any]) -> bool:
        """Whether no output changes when the other rows are given the values of these."""
        outputs, changed = (put(self._swap.outputs(each, batch), CPU) for each in ({}, used))
        return error(changed, outputs) <= TOLERANCE

    @cached_property
    def _tap(self) -> _Tap:
        return _Tap(self.module, self.layers, self.device)

    @cached_property
    def _swap(self) -> _Swap:
        return _Swap(self.module, self.layers, self.device)


class _AtLayers(DeviceInterpreter):
    """Interpreter that does something to the outputs of layers."""

    def __init__(
        self, module: fx.GraphModule, layers: Sequence[Layer], device: torch.device
    ) -> None:
        super().__init__(module, device)
        self._layers = {layer.node: layer for layer in layers}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        layer = self._layers.get(n)
        return result if layer is None else self.seen(layer, result)

    def seen(self, layer: Layer, result: Tensor) -> Tensor:
        """Return what goes on in place of a layer's output."""
        raise NotImplementedError


class _Tap(_AtLayers):
    """Gradients of a random projection of the outputs, by the outputs of layers."""

    def gradients(self, inputs: Sequence[Any]) -> dict[Layer, Tensor]:
        """Return the gradients on flat inputs.

        Of layers that no output with gradients depends on they are ones: nothing is known of their rows.
        """
        self._taken: dict[Layer, Tensor] = {}
        with allow_mutation_on_saved_tensors():
            outputs = run(self, inputs, gradients=True)
            taken, self._taken = self._taken, {}
            found = _projected(outputs, list(taken.values()))
        return {
            layer: torch.ones_like(value) if gradient is None else gradient
            for (layer, value), gradient in zip(taken.items(), found, strict=True)
        }

    def seen(self, layer: Layer, result: Tensor) -> Tensor:
        if not result.requires_grad:
            result = result.detach().requires_grad_()
        self._taken[layer] = result = result.clone()  # what is written into it later is another
        return result


class _Swap(_AtLayers):
    """Runs in which unused rows have the values of used ones of the same layer."""

    def outputs(self, used: Mapping[Layer, Tensor], inputs: Sequence[Any]) -> list[Any]:
        """Return the flat outputs on flat inputs; of layers without a mask all rows are used."""
        self._used = used
        return run(self, inputs)

    def seen(self, layer: Layer, result: Tensor) -> Tensor:
        if layer not in self._used:
            return result
        used = self._used[layer]
        rows = result.movedim(layer.channel, -1).clone()
        there = rows[used] if bool(used.any()) else rows[~used].flip(0)
        places = torch.arange(int((~used).sum()), device=rows.device) % len(there)
        rows[~used] = there[places]
        return rows.movedim(-1, layer.channel)


def _projected(outputs: Sequence[Any], values: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradients of a random projection of the outputs, or ``None`` of values that it doesn't depend on."""
    floats = [x for x in outputs if isinstance(x, Tensor) and x.requires_grad]
    if not floats or not values:
        return [None] * len(values)
    generator = torch.Generator().manual_seed(0)
    signs = [torch.randn(x.shape, generator=generator).to(x) for x in floats]
    return torch.autograd.grad(floats, values, signs, allow_unused=True)


def _joined(layer: Layer, masks: Sequence[Tensor]) -> Tensor:
    """Join the masks of chunks along the axis that holds the samples."""
    if len(masks) == 1:
        return masks[0]
    sizes = list(layer.node.meta["val"].shape)
    del sizes[layer.channel]
    open_axes = [axis for axis, size in enumerate(sizes) if isinstance(size, torch.SymInt)]
    return torch.cat(list(masks), open_axes[0] if open_axes else 0)
