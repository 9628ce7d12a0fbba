"""List the kernels that onnxruntime runs of a program, with their widths as polynomials.

The program is the dense one before BatchNorm folding; a BatchNorm that will fold costs nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.count_costs import batch_size
from graphprune.analysis.emptied import Emptied
from graphprune.axes.polynomial import Polynomial, total
from graphprune.ir.nodes import bind
from graphprune.ir.sizes import size_where
from graphprune.ops import form_of, traits_of
from graphprune.ops.norm import BATCH_NORM
from graphprune.plan.kernel_times import Kernel

from .exported import ACTIVATIONS, APART, Exported
from .fusion import Fusion, activation, is_convolution
from .group_sizes import group_sizes
from .kernel_calls import KernelCall, OtherCall, Workload
from .windows import convolution_window, pooling_window, whole_mean

__all__ = ["workload", "written_bytes"]

aten = torch.ops.aten

POOLS: dict[Any, str] = {
    aten.adaptive_avg_pool2d.default: "mean", aten.avg_pool2d.default: "AveragePool",
    aten.max_pool2d.default: "MaxPool", aten.mean.dim: "mean",
}  # fmt: skip
"""Pooling operator -> the kind of its kernel."""


def workload(analysis: Analysis, batch: int = 1, left: Emptied | None = None) -> Workload:
    """List the kernels of a program, and what its other operators cost.

    Args:
        analysis: the analysis of the dense program.
        batch: samples per run, where the program's batch is dynamic.
        left: what is left of the program, where branches are gone; by default all of it.
    """
    return _WorkloadBuilder(analysis, batch, left).build()


def written_bytes(analysis: Analysis) -> Polynomial:
    """Return the bytes that all kernels of a program write, as a function of the widths.

    It is of one sample where the batch is dynamic, as MACs are.
    """
    exported = Exported(analysis)
    fusion = Fusion(exported)
    found: list[Polynomial] = []
    for node in analysis.module.graph.nodes:
        if node.op != "call_function" or exported.is_free(node):
            continue
        if node not in fusion.fused or ACTIVATIONS.get(node.target) in APART:
            found.append(exported.bytes(node))
        if is_convolution(node) or ((form := form_of(node)) and form.kind == "linear"):
            fusion.tail(node)  # notes what it fuses
    return total(found).scaled(1 / analysis.costs.batch)


_ConvWidths = tuple[dict[str, tuple[int, ...]], tuple[int, ...], tuple[Polynomial, ...], Polynomial]
"""Attributes of a convolution's kernel, its dense widths, its widths, and what part of its time it takes."""


class _WorkloadBuilder:
    """Builder of a ``Workload``, from the calls of a graph in order."""

    def __init__(self, analysis: Analysis, batch: int, left: Emptied | None) -> None:
        self.analysis, self.batch = analysis, batch
        self.samples = batch_size(analysis.module)
        self.sizes = analysis.data_sizes
        self.exported = Exported(analysis, left)
        self.fusion = Fusion(self.exported)

    def build(self) -> Workload:
        """Return the workload of all calls."""
        found: list[KernelCall] = []
        rest: list[OtherCall] = []
        for node in self.analysis.module.graph.nodes:
            if node.op != "call_function" or node in self.fusion.fused:
                continue
            if not self.exported.runs(node):
                if self.exported.left is not None and node in self.exported.left.spread:
                    rest.append(OtherCall(node, self._written(node), Polynomial.constant(0)))
                continue
            if self.exported.is_free(node):
                continue
            operator = self._operator(node)
            if operator is not None:
                found.append(operator)
                continue
            macs = Polynomial.constant(0)
            if node in self.analysis.facts:
                macs = self.analysis.macs_of(node).scaled(self.analysis.costs.batch)
                macs = macs.scaled(self._grown(node))
            rest.append(OtherCall(node, self._written(node), macs))
        return Workload(tuple(found), tuple(rest))

    def _operator(self, node: fx.Node) -> KernelCall | None:
        """Return the kernel of a call, or ``None`` if there is none for it."""
        form, handler = form_of(node), None
        if is_convolution(node):
            handler = self._convolution
        elif form is not None and form.kind == "linear":
            handler = self._linear
        elif node.target is BATCH_NORM:
            handler = self._normalisation
        elif node.target in ACTIVATIONS:
            handler = self._activated
        elif node.target in POOLS:
            handler = self._pool
        elif traits_of(node).arithmetic:
            handler = self._binary
        return None if handler is None else handler(node)

    def _normalisation(self, node: fx.Node) -> KernelCall | None:
        return self._alone(node, "BatchNormalization")

    def _activated(self, node: fx.Node) -> KernelCall | None:
        name, *numbers = activation(node)
        values = tuple(n for n in numbers if not isinstance(n, str))
        return self._alone(node, str(name), (("values", values),) if values else ())

    def _convolution(self, node: fx.Node) -> KernelCall | None:
        call = bind(node)
        source, weight = call["input"], call["weight"]
        sizes = self.sizes.shape(weight)
        if source.meta["val"].ndim != len(sizes):  # without a batch axis
            return None
        found = self._conv_widths(source, weight, call["groups"])
        if found is None:
            return None
        attributes, dense, widths, share = found
        attributes = convolution_window(call, sizes[2:]) | attributes
        tail = self.fusion.tail(node)
        kernel = Kernel(
            "conv", self._shape(source, 1), dense, tuple(sorted(attributes.items())), tail
        )
        return KernelCall(node, kernel, widths, share=share)

    def _conv_widths(self, source: fx.Node, weight: fx.Node, groups: int) -> _ConvWidths | None:
        """Return what a kernel states of a convolution's channels; ``None`` if its groups may become unlike."""
        outputs, inputs, *_ = self.sizes.shape(weight)
        outer, inner, *_ = self.exported.sizes(weight)
        everything = Polynomial.constant(1)
        if groups == 1:
            widths = self.exported.sizes(source)[1], outer
            return {"groups": (1,)}, (inputs, outputs), widths, everything
        found = group_sizes(self.analysis, self.exported.axes(weight)[0], groups)
        if found is None:
            return None
        number, each = found
        if not any(p.terms.keys() - {()} for p in (inner, each)):
            # Depthwise, or as many channels in every group whatever is cut.
            per_group = tuple(dict.fromkeys((inputs, outputs // groups)))
            return {"per_group": per_group}, (groups,), (number,), everything
        dense, share = (inputs, outputs // groups), number.scaled(1 / groups)
        return {"groups": (groups,)}, dense, (inner, each), share

    def _linear(self, node: fx.Node) -> KernelCall:
        call = bind(node)
        source, weight = call["input"], call["weight"]
        last = source.meta["val"].ndim - 1
        kernel = Kernel(
            "linear",
            self._shape(source, last),
            (self.sizes.shape(weight)[1], self.sizes.shape(weight)[0]),
            (),
            self.fusion.tail(node),
        )
        sizes = self.exported.sizes(weight)
        return KernelCall(node, kernel, (sizes[1], sizes[0]))

    def _pool(self, node: fx.Node) -> KernelCall | None:
        kind = POOLS[node.target]
        window = whole_mean(node) if kind == "mean" else pooling_window(node)
        return None if window is None else self._alone(node, kind, tuple(sorted(window.items())))

    def _binary(self, node: fx.Node) -> KernelCall | None:
        """Return the kernel of an addition or product whose operands have a width on the same axis."""
        call = bind(node)
        operands = call["self"], call["other"]
        kind = "Add" if traits_of(node).arithmetic == "sum" else "Mul"
        if not all(isinstance(x, fx.Node) for x in operands):
            return self._alone(node, kind)  # with a number
        shapes = [self.exported.shape(x) for x in operands]
        if len(shapes[0]) != len(shapes[1]):
            return None
        small = tuple(min(a, b) for a, b in zip(*shapes, strict=True))
        stretched = tuple(int(a != b) for a, b in zip(small, self.sizes.shape(node), strict=True))
        return self._alone(node, kind, (("stretched", stretched),))

    def _alone(
        self,
        node: fx.Node,
        kind: str,
        attributes: tuple[tuple[str, tuple[int | float, ...]], ...] = (),
    ) -> KernelCall | None:
        """Return the kernel of an operator that keeps its channels."""
        source = node.all_input_nodes[0]
        if len(node.all_input_nodes) == 2 and traits_of(node).arithmetic:
            source = max(
                node.all_input_nodes, key=lambda operand: math.prod(self.exported.shape(operand))
            )
        sizes = self.exported.sizes(source)
        wide = [axis for axis, size in enumerate(sizes) if size.terms.keys() - {()}]
        if len(wide) > 1 or not sizes:
            return None
        axis = wide[0] if wide else min(1, len(sizes) - 1)
        kernel = Kernel(
            kind,
            self._shape(source, axis),
            (self.sizes.shape(source)[axis],),
            (("axis", (axis,)), *attributes),
        )
        return KernelCall(node, kernel, (sizes[axis],))

    def _shape(self, node: fx.Node, width: int) -> tuple[int, ...]:
        sizes = self._batched(node)
        return tuple(0 if axis == width else size for axis, size in enumerate(sizes))

    def _batched(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of a value for ``batch`` samples."""
        return tuple(
            size if isinstance(size, int) else self._at_batch(size, example)
            for size, example in zip(node.meta["val"].shape, self.sizes.shape(node), strict=True)
        )

    def _at_batch(self, size: torch.SymInt, example: int) -> int:
        """Return a size, which has a value on the example inputs, for ``batch`` samples."""
        if isinstance(self.samples, int):
            return example
        return size_where(size, self.samples, self.batch, example)

    def _grown(self, node: fx.Node) -> float:
        """Return how many times as many elements a value has for ``batch`` samples as for the example inputs."""
        return math.prod(self._batched(node)) / max(math.prod(self.sizes.shape(node)), 1)

    def _written(self, node: fx.Node) -> Polynomial:
        """Return the bytes that a call writes in a run."""
        return self.exported.bytes(node).scaled(self._grown(node))
