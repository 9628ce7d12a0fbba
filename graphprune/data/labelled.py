"""Measure a classifier's accuracy on inputs with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from graphprune.errors import LoadError
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import call_arguments, unlift

from .calibration import batch_size, batched, dynamic_batch
from .classes import class_count

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from .source import Source

__all__ = ["accuracy"]


def accuracy(program: ExportedProgram, data: Source, model: torch.nn.Module | None = None) -> float:
    """Measure the share of samples whose largest output is that of their label, 0 to 1.

    The data is read anew each time, so it need not fit into memory.

    Args:
        program: the classifier.
        data: its inputs with labels.
        model: a module that is called as the program is, and is measured in its place.

    Raises:
        LoadError: if there are no samples, or a label isn't a class.
        OptionError: if the model isn't a classifier.
    """
    classes = class_count(program)
    module, size = model or unlift(program), batch_size(program)
    right = total = 0
    for *inputs, labels in batched(data.labelled(program), size):
        if not bool(((labels >= 0) & (labels < classes)).all()):
            raise LoadError(
                f"a label is not one of the {classes} classes, 0 to {classes - 1}",
                options=("val",),
            )
        fill = 0 if dynamic_batch(program) else size - len(labels)
        filled = [torch.cat([x, x[:1].expand(fill, *x.shape[1:])]) for x in inputs]
        with torch.no_grad():
            args, kwargs = call_arguments(program, filled)
            logits = pytree.tree_leaves(module(*args, **kwargs))[0]
        right += int((logits[: len(labels)].argmax(1) == labels).sum())
        total += len(labels)
    if total == 0:
        raise LoadError("the labelled data is empty", options=("val",))
    return right / total
