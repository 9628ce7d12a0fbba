"""Random small DAGs of table operators, random plans: the cut equals the masked original."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import fx

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ops.float64 import Float64Interpreter
from graphprune.verify.graph_runs import error, run
from graphprune.verify.masked import MaskedInterpreter

aten = torch.ops.aten

TOLERANCE = 1e-9
"""float64; these nets aren't normalised, so values grow over a dozen layers."""


class Builder:
    """Writes a graph call by call, computing values on the way."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.graph, self.root = fx.Graph(), torch.nn.Module()
        self.generator = torch.Generator().manual_seed(0)
        self.input = self.graph.placeholder("x")
        self.input.meta["val"] = self.random(2, 4, 8, 8)
        self.values = [self.conv(self.input)]

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def one_of(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        return tuple(node.meta["val"].shape)

    def parameter(self, *shape: int) -> fx.Node:
        name = f"p{len(list(self.root.parameters()))}"
        self.root.register_parameter(name, torch.nn.Parameter(self.random(*shape)))
        node = self.graph.get_attr(name)
        node.meta["val"] = getattr(self.root, name).detach()
        return node

    def call(self, target: Any, *args: Any) -> fx.Node:
        node = self.graph.call_function(target, args)
        values = fx.map_arg(args, lambda n: n.meta["val"])
        node.meta["val"] = target(*values)
        return node

    def conv(self, x: fx.Node) -> fx.Node:
        channels = self.shape(x)[1]
        groups = self.one_of(*(g for g in (1, 1, 2, 4, channels) if channels % g == 0))
        out = groups * self.one_of(1, 2, 3) if groups > 4 else groups * self.one_of(2, 4, 6)
        k = self.one_of(1, 3)
        weight = self.parameter(out, channels // groups, k, k)
        return self.call(
            aten.conv2d.default,
            x,
            weight,
            self.parameter(out),
            [1, 1],
            [k // 2, k // 2],
            [1, 1],
            groups,
        )

    def transposed(self, x: fx.Node) -> fx.Node:
        channels = self.shape(x)[1]
        groups = self.one_of(*(g for g in (1, 2) if channels % g == 0))
        weight = self.parameter(channels, self.one_of(2, 3), 1, 1)
        return self.call(
            aten.conv_transpose2d.input, x, weight, None, [1, 1], [0, 0], [0, 0], groups
        )

    def batch_norm(self, x: fx.Node) -> fx.Node:
        c = self.shape(x)[1]
        p = [self.parameter(c) for _ in range(3)]
        variance = self.parameter(c)
        variance.meta["val"].abs_().add_(0.5)
        return self.call(
            aten.batch_norm.default, x, p[0], p[1], p[2], variance, False, 0.1, 1e-5, False
        )

    def activation(self, x: fx.Node) -> fx.Node:
        return self.call(self.one_of(aten.relu.default, aten.tanh.default), x)

    def scale(self, x: fx.Node) -> fx.Node:
        return self.call(aten.mul.Tensor, x, self.parameter(self.shape(x)[1], 1, 1))

    def add(self, x: fx.Node) -> fx.Node:
        others = [v for v in self.values if self.shape(v) == self.shape(x)]
        return self.call(self.one_of(aten.add.Tensor, aten.mul.Tensor), x, self.one_of(*others))

    def residual(self, x: fx.Node) -> fx.Node:
        c = self.shape(x)[1]
        y = self.call(aten.conv2d.default, x, self.parameter(c, c, 1, 1))
        return self.call(aten.add.Tensor, x, y)

    def cat(self, x: fx.Node) -> fx.Node:
        others = [v for v in self.values if self.shape(v)[2:] == self.shape(x)[2:]]
        return self.call(aten.cat.default, [x, self.one_of(*others)], 1)

    def chunk(self, x: fx.Node) -> fx.Node:
        if self.shape(x)[1] < 4:
            return x
        pieces = self.call(aten.chunk.default, x, 2, 1)
        parts = [self.call(operator.getitem, pieces, i) for i in (0, 1)]
        self.values.append(parts[1])
        if self.shape(parts[0]) == self.shape(parts[1]) and self.one_of(True, False):
            return self.call(aten.mul.Tensor, *parts)
        return parts[0]

    def shuffle(self, x: fx.Node) -> fx.Node:
        n, c, h, w = self.shape(x)
        g = self.one_of(*(g for g in (1, 2, 3, 4) if c % g == 0))
        y = self.call(aten.view.default, x, [n, g, c // g, h, w])
        y = self.call(aten.transpose.int, y, 1, 2)
        return self.call(aten.reshape.default, y, [n, c, h, w])

    def maxout(self, x: fx.Node) -> fx.Node:
        n, c, h, w = self.shape(x)
        if c % 2:
            return x
        y = self.call(aten.view.default, x, [n, *self.one_of((2, c // 2), (c // 2, 2)), h, w])
        return self.call(aten.amax.default, y, [1 if self.shape(y)[1] == 2 else 2])

    def slice(self, x: fx.Node) -> fx.Node:
        c = self.shape(x)[1]
        start, step = self.one_of(0, 1), self.one_of(1, 2)
        return self.call(aten.slice.Tensor, x, 1, start, c, step) if c > 3 else x

    def pad(self, x: fx.Node) -> fx.Node:
        return self.call(
            aten.pad.default,
            x,
            [0, 0, 0, 0, self.one_of(0, 1, 3), self.one_of(0, 2)],
            "constant",
            0.5,
        )

    def reorder(self, x: fx.Node) -> fx.Node:
        which = self.one_of("flip", "repeat", "interleave", "pool")
        if which == "flip":
            return self.call(aten.flip.default, x, [1])
        if which == "repeat":
            return self.call(aten.repeat.default, x, [1, 2, 1, 1])
        if which == "interleave":
            return self.call(aten.repeat_interleave.self_int, x, 2, 1)
        return self.call(aten.max_pool2d.default, x, [3, 3], [1, 1], [1, 1])

    def excite(self, x: fx.Node) -> fx.Node:
        c = self.shape(x)[1]
        s = self.call(aten.mean.dim, x, [2, 3], True)
        s = self.call(aten.conv2d.default, s, self.parameter(c, c, 1, 1))
        return self.call(aten.mul.Tensor, x, self.call(aten.sigmoid.default, s))

    def pixels(self, x: fx.Node) -> fx.Node:
        _n, c, h, _w = self.shape(x)
        if c % 4 == 0 and h < 16:
            return self.call(aten.pixel_shuffle.default, x, 2)
        return self.call(aten.pixel_unshuffle.default, x, 2) if h % 2 == 0 and c < 16 else x

    def group_norm(self, x: fx.Node) -> fx.Node:
        c = self.shape(x)[1]
        groups = self.one_of(*(g for g in (1, 2, c) if c % g == 0))
        return self.call(aten.group_norm.default, x, groups, self.parameter(c))

    def finish(self) -> fx.GraphModule:
        results = []
        for value in self.values[-2:]:
            flat = self.call(aten.flatten.using_ints, value, 1)
            results.append(
                self.call(aten.linear.default, flat, self.parameter(3, self.shape(flat)[1]))
            )
        self.graph.output(tuple(results))
        return fx.GraphModule(self.root, self.graph)


STEPS = (
    "activation", "add", "batch_norm", "cat", "chunk", "conv", "conv", "excite", "group_norm",
    "maxout", "pad", "pixels", "reorder", "residual", "scale", "shuffle", "slice", "transposed",
)  # fmt: skip


@st.composite
def nets(draw: Callable[[Any], Any]) -> fx.GraphModule:
    """Up to ten random steps, each on one of the three latest values."""
    builder = Builder(draw)
    for _ in range(draw(st.integers(1, 10))):
        x = builder.one_of(*builder.values[-3:])
        if builder.shape(x)[1] <= 64:
            builder.values.append(getattr(builder, draw(st.sampled_from(STEPS)))(x))
    return builder.finish()


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(nets(), st.integers(0, 1 << 16))
def test_any_cut_of_any_net_is_exact(module: fx.GraphModule, seed: int) -> None:
    analysis = analyse(module)
    generator = np.random.default_rng(seed)
    keep = {
        g.id: sorted(generator.permutation(g.width)[: generator.integers(1, g.width + 1)].tolist())
        for g in analysis.groups
    }
    cut = Cut.keeping(analysis, keep)
    inputs = [module.graph.find_nodes(op="placeholder")[0].meta["val"]]
    expected = run(MaskedInterpreter(cut), inputs)
    small = cut.module
    assert error(run(Float64Interpreter(small), inputs), expected) <= TOLERANCE
    sizes = {id(p): p.numel() for p in small.parameters()}
    widths = [len(keep[g.id]) for g in analysis.groups]
    assert analysis.costs.params.at(widths) == sum(sizes.values())
