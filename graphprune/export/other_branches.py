"""Swap the branches of choices in an ONNX model, so that those which its inputs don't choose are run too."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .node_reads import nodes_of
from .onnx_model import read_model

__all__ = ["with_other_branches"]

_OTHER = {"then_branch": "else_branch", "else_branch": "then_branch"}


def with_other_branches(model: bytes | str | Path, names: Collection[str]) -> bytes | None:
    """Make a copy of an ONNX model in which some If nodes take the other branch.

    Args:
        model: a serialised model, or the path of one.
        names: the first results of these nodes.

    Returns:
        The copy, serialised; ``None`` if the model lacks one of the nodes, as where local functions hold them.
    """
    copy = read_model(model)
    found = set[str]()
    for node in nodes_of(copy):
        if node.op_type == "If" and node.output[0] in names:
            found.add(node.output[0])
            for attribute in node.attribute:
                attribute.name = _OTHER.get(attribute.name, attribute.name)
    return copy.SerializeToString() if found == {*names} else None
