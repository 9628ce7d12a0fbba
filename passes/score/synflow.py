"""Criterion by synaptic flow (SynFlow), for networks at initialisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import fx
from torch.autograd.graph import allow_mutation_on_saved_tensors

from graphprune.analysis.analyse import Analysis
from graphprune.ir.nodes import bind, is_continuous
from graphprune.ir.sizes import shape
from graphprune.passes.observe import Observations

from .criterion import Scores, additive
from .interpreter import CopyingInterpreter, widened
from .magnitude import parameters, per_channel

__all__ = ["SynapticFlow"]

_SHIFTS = ("bias", "running_mean")


@dataclass(frozen=True)
class SynapticFlow:
    """Synaptic flow ``|w * dR/dw|`` summed over a channel; data-free, for networks at initialisation.

    ``R`` is the sum of the outputs of the network with the absolute values of its parameters,
    on inputs of ones. So that ``R`` is the product of the parameters that the source defines,
    operands that are called ``bias`` or ``running_mean`` count as zero and those called
    ``running_var`` as one, as in a network at initialisation. Then ``R`` is linear in each
    weight tensor, whose scale cancels between all scores; each is divided by its mean row sum,
    which keeps ``R`` finite however deep the network. Where the flow isn't defined, such as
    through the norm of a zero vector, it counts as none.

    Source: Tanaka et al. 2020 (SynFlow, arXiv:2006.05467, equation 2 and algorithm 1), one
    round. Scores of different groups are on one scale: along a path of layers, the flow through
    each is the same.
    """

    needs_data: ClassVar[bool] = False

    def __call__(self, analysis: Analysis, observations: Observations | None = None) -> Scores:
        """Score the channels of all groups."""
        leaves: dict[int, torch.Tensor] = {}
        for tensor in analysis.tensors.values():
            if isinstance(tensor, torch.nn.Parameter) and is_continuous(tensor):
                leaves[id(tensor)] = _scaled(tensor.detach()).requires_grad_()
        roles = _roles(analysis.module)
        given = {
            name: _stand_in(tensor, leaves.get(id(tensor)), roles.get(name, ""))
            for name, tensor in analysis.tensors.items()
            if is_continuous(tensor)
        }
        with torch.enable_grad(), allow_mutation_on_saved_tensors():
            values = [
                (torch.view_as_real(v) if v.is_complex() else v).sum()
                for v in CopyingInterpreter(analysis, given).outputs(_ones(analysis))
                if isinstance(v, torch.Tensor) and v.requires_grad
            ]
            wanted = list(leaves.values())
            found = torch.autograd.grad(values, wanted, allow_unused=True) if values else ()
        flow = {
            key: (leaf.detach() * g).abs().double().nan_to_num(posinf=0.0)
            for (key, leaf), g in zip(leaves.items(), found, strict=bool(values))
            if g is not None
        }
        return additive({
            group.id: sum(
                (
                    per_channel(flow[id(tensor)], where)
                    for tensor, where in parameters(analysis, group)
                    if id(tensor) in flow
                ),
                start=np.zeros(group.width),
            )
            for group in analysis.groups
        })


def _scaled(tensor: torch.Tensor) -> torch.Tensor:
    size = tensor.abs().double()
    mean = float(size.sum()) / (tensor.shape[0] if tensor.ndim else 1)
    return widened((size / (mean or 1.0)).to(tensor.dtype))


def _stand_in(tensor: torch.Tensor, leaf: torch.Tensor | None, role: str) -> torch.Tensor:
    if role in _SHIFTS:
        return torch.zeros_like(tensor)
    if role == "running_var":
        return torch.ones_like(tensor)
    return tensor.detach().abs() if leaf is None else leaf


def _roles(module: fx.GraphModule) -> dict[str, str]:
    """Return tensor name -> its argument name in the schema of the call that reads it."""
    return {
        str(value.target): name
        for node in module.graph.nodes
        for name, value in bind(node).items()
        if isinstance(value, fx.Node) and value.op == "get_attr"
    }


def _ones(analysis: Analysis) -> tuple[Any, ...]:
    """Make inputs of ones in the shapes of the example inputs."""
    values: list[Any] = []
    for node in analysis.module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        values.append(
            torch.ones(shape(node), dtype=value.dtype) if isinstance(value, torch.Tensor) else value
        )
    return tuple(values)
