"""Collect what a program is made of, to tell whether somebody changed it in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

__all__ = ["fingerprint"]


def fingerprint(program: ExportedProgram) -> list[tuple[Any, ...]]:
    """Collect what a pass may not change in its input: calls, arguments, tensors and their values."""
    graphs = [m.graph for m in program.graph_module.modules() if isinstance(m, fx.GraphModule)]
    calls = [
        (node.op, node.name, str(node.target), str(node.args), str(node.kwargs))
        for graph in graphs
        for node in graph.nodes
    ]
    tensors = {**program.state_dict, **program.constants}
    return [*calls, *((name, id(value), _checksum(value)) for name, value in tensors.items())]


def _checksum(value: Any) -> str:
    """Sum a tensor's values, as text, in which NaN equals itself."""
    if not isinstance(value, torch.Tensor) or value.is_meta:
        return ""
    wide = torch.float64 if value.is_floating_point() else None
    return str(value.detach().sum(dtype=wide).item())
