"""Inputs with labels: measure a classifier's accuracy on them, or take them all to train on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from graphprune.errors import LoadError
from graphprune.ir.devices import CPU, full_float32, put
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import call_arguments, unlift
from graphprune.ir.run_on_device import put_model
from graphprune.pipeline import RunFact

from .calibration import BATCHES, Calibration, batch_size, batched, dynamic_batch
from .classes import class_count

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from .source import Source

__all__ = ["Labelled", "accuracy", "read_labelled"]


@dataclass(frozen=True)
class Labelled(RunFact):
    """Labelled inputs of a classifier, in memory.

    Attributes:
        data: its inputs in batches; the last of each batch are the labels ``[n]``.
    """

    data: Calibration

    def inputs(self, samples: int) -> Calibration:
        """Return the inputs without their labels, as many as asked for or as there are."""
        kept: list[tuple[Any, ...]] = []
        left = samples
        for *inputs, labels in self.data.batches:
            if left > 0:
                kept.append(tuple(x[:left] if _is_batched(x) else x for x in inputs))
            left -= len(labels)
        return replace(self.data, batches=tuple(kept))


def _is_batched(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0


def read_labelled(program: ExportedProgram, data: Source, *, seed: int = 0) -> Labelled:
    """Read labelled inputs into memory, in an order drawn by the seed.

    Raises:
        LoadError: if there are fewer than two batches of them, or a label isn't a class.
        OptionError: if the model isn't a classifier.
    """
    size = batch_size(program)
    chunks = list(_checked(program, data))
    if not chunks:
        raise LoadError("the labelled data is empty", options=("train",))
    columns = [torch.cat(column) for column in zip(*chunks, strict=True)]
    count = len(columns[-1])
    if dynamic_batch(program):
        size = min(size, max(1, count // BATCHES))
    if count < 2 * size:
        raise LoadError(
            f"{count} labelled samples are too few to train on some and hold out others",
            options=("train",),
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    order = order if dynamic_batch(program) else order[: count // size * size]
    batches = tuple(tuple(column[i] for column in columns) for i in order.split(size))
    name = f"{count} labelled samples"
    return Labelled(Calibration(batches, source=name))


def _checked(program: ExportedProgram, data: Source) -> Iterator[tuple[torch.Tensor, ...]]:
    """Iterate over labelled inputs whose labels are classes of the model."""
    classes = class_count(program)
    for *inputs, labels in data.labelled(program):
        if not bool(((labels >= 0) & (labels < classes)).all()):
            raise LoadError(
                f"a label is not one of the {classes} classes, 0 to {classes - 1}",
                options=("val", "train"),
            )
        yield *inputs, labels


def accuracy(
    program: ExportedProgram,
    data: Source,
    model: torch.nn.Module | None = None,
    device: torch.device = CPU,
) -> float:
    """Measure the share of samples whose largest output is that of their label, 0 to 1.

    The data is read anew each time, so it need not fit into memory.

    Args:
        program: the classifier.
        data: its inputs with labels.
        model: a module that is called as the program is, and is measured in its place.
        device: where it runs.

    Raises:
        LoadError: if there are no samples, or a label isn't a class.
        OptionError: if the model isn't a classifier.
    """
    module, size = put_model(model or unlift(program), device), batch_size(program)
    right = total = 0
    for *inputs, labels in batched(_checked(program, data), size):
        fill = 0 if dynamic_batch(program) else size - len(labels)
        filled = [torch.cat([x, x[:1].expand(fill, *x.shape[1:])]) for x in inputs]
        with torch.no_grad(), full_float32():
            args, kwargs = call_arguments(program, put(filled, device))
            logits = put(pytree.tree_leaves(module(*args, **kwargs))[0], CPU)
        right += int((logits[: len(labels)].argmax(1) == labels).sum())
        total += len(labels)
    if total == 0:
        raise LoadError("the labelled data is empty", options=("val",))
    return right / total
