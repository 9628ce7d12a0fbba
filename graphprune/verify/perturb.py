"""Other values for the weights of a network: its own with noise, to see what its own may hide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import fx

from graphprune.ir.nodes import is_continuous
from graphprune.ir.program import state
from graphprune.ir.whole_node import WHOLE_NODE
from graphprune.ops.float64 import Tensors, to_float64

if TYPE_CHECKING:
    from collections.abc import Container

    from graphprune.analysis.analyse import Analysis
    from graphprune.cut.cut import Cut

__all__ = ["perturbed_pair", "perturbed_tensors"]

LEAST_NOISE = 0.01
"""Smallest noise, for weights that are smaller, such as a LayerScale of 1e-6 or a head of zeros."""


def perturbed_pair(cut: Cut, module: fx.GraphModule, seed: int) -> tuple[Tensors, Tensors]:
    """Perturb all parameters and buffers of the dense and of a cut graph by the same noise.

    Args:
        cut: what was removed from the dense program.
        module: the cut graph.
        seed: of the noise.

    Returns:
        Tensors in float64 by name, of the dense graph and of the cut one.
    """
    wide = perturbed_tensors(cut.analysis, {*state(module), *cut.stored_sources}, seed)
    narrow = {**wide, **cut.sliced(wide), **cut.baked_values(wide)}
    return wide, {**narrow, **cut.constant_values(wide, dtype=torch.float64)}


def perturbed_tensors(
    analysis: Analysis, present: Container[str], seed: int
) -> dict[str, torch.Tensor]:
    """Add noise of their own size to parameters and buffers; those without negative values keep that.

    Shared tensors stay shared. Only the tensors named in ``present`` are returned, in float64. Those of which alone a node of an
    ONNX file is computed that runs whole aren't: they may be sizes, which fit the file as it is.
    """
    generator = np.random.default_rng(seed)  # torch's numbers may be fixed
    done: dict[int, torch.Tensor] = {}
    sizes = _read_whole(analysis.module.graph)
    for name, tensor in analysis.tensors.items():
        if (
            name in present
            and name not in sizes
            and is_continuous(tensor)
            and id(tensor) not in done
        ):
            stored = to_float64(tensor.detach().cpu())
            value = torch.view_as_real(stored) if stored.is_complex() else stored
            size = max(float(value.square().mean().sqrt()), LEAST_NOISE)
            drawn = generator.random(tuple(value.shape), dtype=np.float32)
            noise = torch.from_numpy(np.asarray(drawn)).double().mul_(2).sub_(1)
            noisy = noise.mul_(size * 3**0.5).add_(value)
            noisy = noisy.abs() if bool((value >= 0).all()) else noisy
            done[id(tensor)] = torch.view_as_complex(noisy) if stored.is_complex() else noisy
    return {n: done[id(t)] for n, t in analysis.tensors.items() if n in present and id(t) in done}


def _read_whole(graph: fx.Graph) -> frozenset[str]:
    """Collect the stored tensors of which nodes that run whole are computed without any input of the model."""
    alone: dict[fx.Node, frozenset[str]] = {}
    found = frozenset[str]()
    for node in graph.nodes:
        if node.op == "get_attr":
            alone[node] = frozenset({str(node.target)})
        elif node.op == "call_function" and all(n in alone for n in node.all_input_nodes):
            alone[node] = frozenset[str]().union(*(alone[n] for n in node.all_input_nodes))
            if node.target is WHOLE_NODE:
                found |= alone[node]
    return found
