"""Inputs with labels: measure a classifier's accuracy on them, or take them all to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from graphprune.errors import LoadError, first_line
from graphprune.ir.devices import CPU, full_float32, put
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import call_arguments, input_names, unlift
from graphprune.ir.run_on_device import put_model
from graphprune.pipeline import RunFact

from .calibration import BATCHES, Calibration, batch_size, batched, dynamic_batch
from .checked_inputs import checked_inputs
from .classes import class_count

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from .source import Source

__all__ = ["Labelled", "accuracy", "read_labelled"]

_HINT = "give batches: inputs [n, ...] with labels [n], the numbers of their classes from 0"


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
        LoadError: if there are fewer than two batches of them, they aren't what the model takes, or a label isn't a
            class.
        OptionError: if the model isn't a classifier.
    """
    size = batch_size(program)
    chunks = [
        (*checked_inputs(tuple(inputs), program), labels)
        for *inputs, labels in _checked(program, data)
    ]
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
    return Labelled(Calibration(batches, source=name, divisible=dynamic_batch(program)))


def _checked(program: ExportedProgram, data: Source) -> Iterator[tuple[torch.Tensor, ...]]:
    """Iterate over labelled inputs, each with a label that is a class of the model."""
    classes, names = class_count(program), input_names(program)
    for *inputs, labels in data.labelled(program):
        if len(inputs) != len(names) or not all(map(_is_batched, inputs)):
            raise LoadError(
                f"the model takes {len(names)} tensors ({', '.join(names)}), the labelled data has "
                f"{sum(map(_is_batched, inputs))}",
                hint=_HINT,
                options=("val", "train"),
            )
        if labels.ndim != 1 or len(labels) != len(inputs[0]) or labels.is_floating_point():
            raise LoadError(
                f"there must be one integer as the label of each of {len(inputs[0])} samples, and there are "
                f"{list(labels.shape)} of type {labels.dtype}",
                hint=_HINT,
                options=("val", "train"),
            )
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
        LoadError: if there are no samples, the model can't run on them, or a label isn't a class.
        OptionError: if the model isn't a classifier.
    """
    module, size = put_model(model or unlift(program), device), batch_size(program)
    right = total = 0
    for *inputs, labels in batched(_checked(program, data), size):
        fill = 0 if dynamic_batch(program) else size - len(labels)
        filled = [torch.cat([x, x[:1].expand(fill, *x.shape[1:])]) for x in inputs]
        logits = put(_outputs(program, module, put(filled, device)), CPU)
        right += int((logits[: len(labels)].argmax(1) == labels).sum())
        total += len(labels)
    if total == 0:
        raise LoadError("the labelled data is empty", options=("val",))
    return right / total


def _outputs(
    program: ExportedProgram, module: torch.nn.Module, inputs: Sequence[Any]
) -> torch.Tensor:
    """Run a classifier on a batch.

    Raises:
        LoadError: if it can't run on these inputs.
    """
    args, kwargs = call_arguments(program, inputs)
    try:
        with torch.no_grad(), full_float32():
            return pytree.tree_leaves(module(*args, **kwargs))[0]
    except FORWARD_ERRORS as error:
        raise LoadError(
            f"the model can't run on the labelled inputs: {first_line(error)}",
            hint="give them as the model is called with them, scaled as for its training",
            options=("val",),
        ) from error
