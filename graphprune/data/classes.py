"""Tell a classifier from other models, and count its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphprune.errors import OptionError
from graphprune.ir.private_torch import pytree

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["class_count"]


def class_count(program: ExportedProgram) -> int:
    """Count the classes of a classifier: the columns of its one output ``[n, classes]``.

    Raises:
        OptionError: if the model has another output.
    """
    (result,) = program.graph.find_nodes(op="output")
    leaves = pytree.tree_leaves(result.args)
    names = set(program.graph_signature.user_outputs)
    values = [leaf.meta["val"] for leaf in leaves if leaf is not None and leaf.name in names]
    if len(values) == 1 and values[0].ndim == 2 and isinstance(values[0].shape[1], int):
        return values[0].shape[1]
    raise OptionError("accuracy is known for models with one output [n, classes]", options=("val",))
