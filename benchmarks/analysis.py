"""Measure how the time of the analysis grows with the size of the graph.

    python benchmarks/analysis.py

Convolutional networks of growing depth are built as torch.fx graphs, without export and without
data (tensors on the ``meta`` device), and ``graphprune.analysis.analyse.analyse`` is timed on each, on one
thread. The table goes to stdout and to ``results/analysis.csv``; with matplotlib there is also a
plot, ``results/analysis.png``.

Three families:

* ``residual``: basic blocks in three stages of 64, 128 and 256 channels, a projection where the
  width changes, pooling, flatten and a linear layer.
* ``concat``: dense blocks of six layers, each of which reads the concatenation of all before it
  in its block, with a transition back to 64 channels between blocks.
* ``shuffle``: 64 channels; in turn a shuffle block (chunk, depthwise convolution, concatenation,
  channel shuffle) and a residual bottleneck with a grouped convolution.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import cProfile
import csv
import gc
import operator
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx

from graphprune.analysis.analyse import analyse

RESULTS = Path(__file__).parent / "results"
NODES = (250, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
FIT_FROM = 1_000
"""Nodes of the smallest graph in the fit; below, constant costs hide the growth."""
aten = torch.ops.aten


class Row(NamedTuple):
    """One measurement: the best of some repeats.

    ``cpu`` is the time of the process alone, ``seconds`` that on the wall, which is longer where
    other programs want the same core.
    """

    family: str
    nodes: int
    convs: int
    groups: int
    seconds: float
    cpu: float

    @property
    def us_per_node(self) -> float:
        return 1e6 * self.cpu / self.nodes


class Net:
    """A graph that is being built as ``torch.export`` would write it: tensors are ``get_attr``."""

    def __init__(self) -> None:
        self.graph, self.root = fx.Graph(), torch.nn.Module()

    def input(self, *shape: int) -> fx.Node:
        node = self.graph.placeholder("x")
        node.meta["val"] = torch.empty(shape, device="meta")
        return node

    def tensor(self, name: str, *shape: int, parameter: bool = True) -> fx.Node:
        value = torch.empty(shape, device="meta")
        if parameter:
            self.root.register_parameter(name, torch.nn.Parameter(value))
        else:
            self.root.register_buffer(name, value)
        node = self.graph.get_attr(name)
        node.meta["val"] = value
        return node

    def call(self, function: Any, *args: Any) -> fx.Node:
        node = self.graph.call_function(function, args)
        node.meta["val"] = function(*fx.map_arg(args, lambda n: n.meta["val"]))
        return node

    def pick(self, source: fx.Node, index: int) -> fx.Node:
        node = self.graph.call_function(operator.getitem, (source, index))
        node.meta["val"] = source.meta["val"][index]
        return node

    def conv(
        self, x: fx.Node, out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
    ) -> fx.Node:
        """Add a convolution and a batch normalisation."""
        name = f"conv{len(self.graph.nodes)}"
        weight = self.tensor(f"{name}_weight", out, channels(x) // groups, kernel, kernel)
        pad = [kernel // 2] * 2
        y = self.call(aten.conv2d.default, x, weight, None, [stride] * 2, pad, [1, 1], groups)
        scale, shift = (self.tensor(f"{name}_{n}", out) for n in ("scale", "shift"))
        mean, var = (self.tensor(f"{name}_{n}", out, parameter=False) for n in ("mean", "var"))
        return self.call(
            aten.batch_norm.default, y, scale, shift, mean, var, False, 0.1, 1e-5, True
        )

    def relu(self, x: fx.Node) -> fx.Node:
        return self.call(aten.relu.default, x)

    def add(self, x: fx.Node, y: fx.Node) -> fx.Node:
        return self.call(aten.add.Tensor, x, y)

    def classify(self, x: fx.Node) -> fx.GraphModule:
        x = self.call(aten.adaptive_avg_pool2d.default, x, [1, 1])
        x = self.call(aten.flatten.using_ints, x, 1)
        weight, bias = self.tensor("head_weight", 10, channels(x)), self.tensor("head_bias", 10)
        self.graph.output(self.call(aten.linear.default, x, weight, bias))
        return fx.GraphModule(self.root, self.graph)


def channels(x: fx.Node) -> int:
    return x.meta["val"].shape[1]


def residual(nodes: int) -> fx.GraphModule:
    """Build basic blocks in three stages."""
    net = Net()
    x = net.relu(net.conv(net.input(1, 3, 32, 32), 64, 3))
    for width, share in ((64, 1 / 3), (128, 2 / 3), (256, 1)):
        while True:
            grows = channels(x) != width
            y = net.relu(net.conv(x, width, 3, stride=2 if grows else 1))
            y = net.conv(y, width, 3)
            x = net.relu(net.add(y, net.conv(x, width, stride=2) if grows else x))
            if len(net.graph.nodes) + 6 >= share * nodes:
                break
    return net.classify(x)


def in_turn(nodes: int, *blocks: Callable[[Net, fx.Node], fx.Node]) -> fx.GraphModule:
    net = Net()
    x = net.relu(net.conv(net.input(1, 3, 32, 32), 64, 3))
    turn = 0
    while len(net.graph.nodes) + 6 < nodes:
        x = blocks[turn % len(blocks)](net, x)
        turn += 1
    return net.classify(x)


def concat(nodes: int) -> fx.GraphModule:
    """Build dense blocks with transitions."""
    return in_turn(nodes, dense_block)


def shuffle(nodes: int) -> fx.GraphModule:
    """Build shuffle blocks and grouped bottlenecks in turn."""
    return in_turn(nodes, shuffle_block, grouped_block)


def shuffle_block(net: Net, x: fx.Node) -> fx.Node:
    half = channels(x) // 2
    parts = net.call(aten.chunk.default, x, 2, 1)
    left, right = net.pick(parts, 0), net.pick(parts, 1)
    right = net.relu(net.conv(right, half))
    right = net.conv(right, half, 3, groups=half)
    right = net.relu(net.conv(right, half))
    y = net.call(aten.cat.default, [left, right], 1)
    batch, _, height, width = y.meta["val"].shape
    y = net.call(aten.view.default, y, [batch, 2, half, height, width])
    y = net.call(aten.transpose.int, y, 1, 2)
    return net.call(aten.reshape.default, y, [batch, 2 * half, height, width])


def grouped_block(net: Net, x: fx.Node) -> fx.Node:
    y = net.relu(net.conv(x, 128))
    y = net.relu(net.conv(y, 128, 3, groups=4))
    return net.relu(net.add(net.conv(y, channels(x)), x))


def dense_block(net: Net, x: fx.Node) -> fx.Node:
    features = [x]
    for _ in range(6):
        x = net.call(aten.cat.default, list(features), 1) if len(features) > 1 else x
        features.append(net.relu(net.conv(net.relu(net.conv(x, 64)), 16, 3)))
    return net.relu(net.conv(net.call(aten.cat.default, features, 1), 64))


FAMILIES: dict[str, Callable[[int], fx.GraphModule]] = {
    "residual": residual,
    "concat": concat,
    "shuffle": shuffle,
}


def measure(family: str, nodes: int) -> Row:
    module = FAMILIES[family](nodes)
    seconds, cpu, groups = float("inf"), float("inf"), 0
    for _ in range(3):
        gc.collect()
        wall, process = time.perf_counter(), time.process_time()
        groups = len(analyse(module).groups)
        seconds = min(seconds, time.perf_counter() - wall)
        cpu = min(cpu, time.process_time() - process)
    convs = len(module.graph.find_nodes(op="call_function", target=aten.conv2d.default))
    return Row(family, len(module.graph.nodes), convs, groups, seconds, cpu)


def exponent(rows: list[Row]) -> float:
    """Fit the ``p`` of ``cpu ~ nodes ** p`` by least squares on logarithms."""
    large = [row for row in rows if row.nodes >= FIT_FROM]
    if len(large) < 2:
        return float("nan")
    x, y = np.log([row.nodes for row in large]), np.log([row.cpu for row in large])
    return float(np.polyfit(x, y, 1)[0])


def write(rows: list[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "analysis.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow((*Row._fields, "us_per_node"))
        for row in rows:
            table.writerow((
                *row[:4],
                f"{row.seconds:.4f}",
                f"{row.cpu:.4f}",
                f"{row.us_per_node:.1f}",
            ))


def plot(rows: list[Row], folder: Path) -> None:
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for family in FAMILIES:
        mine = [row for row in rows if row.family == family]
        label = f"{family}, nodes^{exponent(mine):.2f}"
        (line,) = axes.loglog([r.nodes for r in mine], [r.cpu for r in mine], "o-", label=label)
        x = np.asarray([r.nodes for r in mine])
        bound = mine[0].cpu * x * np.log(x) / (x[0] * np.log(x[0]))
        axes.loglog(x, bound, ":", color=line.get_color())
    axes.set(
        xlabel="nodes of the graph",
        ylabel="CPU seconds of the analysis",
        title="dotted: n log n from the smallest graph",
    )
    axes.legend()
    figure.savefig(folder / "analysis.png", dpi=120)
    plt.close(figure)


def profile(family: str, nodes: int) -> None:
    module = FAMILIES[family](nodes)
    profiler = cProfile.Profile()
    profiler.runcall(analyse, module)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(20)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the analysis on growing graphs.")
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES, help="sizes to measure")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    parser.add_argument(
        "--profile", action="store_true", help="profile each size instead; write nothing"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    analyse(FAMILIES["residual"](100))  # imports and caches
    rows: list[Row] = []
    if not options.profile:
        print(
            f"{'family':10}{'nodes':>8}{'convs':>8}{'groups':>8}{'seconds':>10}{'cpu':>10}"
            f"{'us/node':>10}"
        )
    for family in options.families:
        for nodes in options.nodes:
            if options.profile:
                profile(family, nodes)
                continue
            row = measure(family, nodes)
            rows.append(row)
            print(
                f"{row.family:10}{row.nodes:8}{row.convs:8}{row.groups:8}{row.seconds:10.3f}"
                f"{row.cpu:10.3f}{row.us_per_node:10.1f}",
                flush=True,
            )
    if options.profile:
        return
    for family in options.families:
        power = exponent([row for row in rows if row.family == family])
        if np.isfinite(power):
            print(f"{family}: cpu ~ nodes ** {power:.2f}, from {FIT_FROM} nodes on")
    write(rows, options.results)
    plot(rows, options.results)


if __name__ == "__main__":
    main()
