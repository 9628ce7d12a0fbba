"""Carry out ``torch.vmap`` and its like in a program: each call that they map becomes one on all of the batch."""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram

from .private_torch import has_transforms

__all__ = ["without_transforms"]

aten = torch.ops.aten


def without_transforms(program: ExportedProgram) -> ExportedProgram:
    """Return a program of plain calls; one that has no others is returned as it is.

    Args:
        program: as torch.export gives it, which leaves the transforms in it as calls that begin and end them.
    """
    if not has_transforms(program.graph):
        return program
    plain = program.run_decompositions({})
    for node in plain.graph.find_nodes(
        op="call_function", target=aten._native_batch_norm_legit_no_training.default
    ):
        _make_whole(node)
    plain.graph_module.recompile()
    return plain


def _make_whole(node: fx.Node) -> None:
    """Write a BatchNorm in evaluation mode as the one call that it was, of which only the first result is read."""
    *tensors, momentum, epsilon = node.args
    for user in list(node.users):
        user.replace_all_uses_with(node)
        node.graph.erase_node(user)
    node.target = aten.batch_norm.default
    node.args = (*tensors, False, momentum, epsilon, False)
    node.meta["val"] = node.meta["val"][0]
