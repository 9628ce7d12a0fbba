"""Put unlabelled inputs into batches: calibration data shows a network's values in use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from graphprune.errors import LoadError
from graphprune.ir.devices import CPU, put
from graphprune.ir.program import dynamic_dims, input_names, user_inputs
from graphprune.ir.sizes import is_data_dependent, shape
from graphprune.pipeline import RunFact

from .checked_inputs import checked_inputs

__all__ = ["BATCH", "Calibration", "batch_size", "batched", "dynamic_batch", "gather"]

BATCH = 64
"""Most samples in a batch, if the program's batch axis is dynamic."""

ROOM = 2**26
"""Bytes that the largest value inside the network may take in such a batch: 64 MiB."""

BATCHES = 10
"""Least number of batches, if there are as many samples: some batches are held out."""


_WHOLE = (
    "items of the calibration data are neither joined nor split, as not all inputs of the model have the "
    "batch first"
)


@dataclass(frozen=True)
class Calibration(RunFact):
    """Inputs of a program, in batches.

    Attributes:
        batches: each the program's inputs, flattened, in calling order, on the CPU.
        source: where they come from, for the report.
        skipped: how many items could not be read.
        notes: what the user should know of how they were read.
        whole: whether each batch is an item as it was given, for a model whose inputs don't all have the batch first.
        divisible: whether the program takes batches of any size.
        device: where the network runs on them.
    """

    batches: tuple[tuple[Any, ...], ...]
    source: str = "an iterable"
    skipped: int = 0
    notes: tuple[str, ...] = ()
    whole: bool = False
    divisible: bool = False
    device: torch.device = CPU

    @property
    def samples(self) -> int:
        """The number of samples in all batches."""
        return len(self.batches) if self.whole else sum(_length(batch) for batch in self.batches)

    def batch(self, number: int) -> tuple[Any, ...]:
        """Return a batch where the network runs on it."""
        return put(self.batches[number], self.device)

    def split(self, held_out: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Divide the numbers of the batches into those to fit on, and those held out (the last ones).

        Both are all batches if there is only one.

        Args:
            held_out: share of the batches that is held out, 0 to 1.
        """
        count = len(self.batches)
        aside = max(1, round(count * held_out))
        numbers = tuple(range(count))
        return (numbers[:-aside], numbers[-aside:]) if count > 1 else (numbers, numbers)

    def few(self, samples: int) -> Calibration:
        """Return about so many samples, from batches that are evenly spaced.

        Args:
            samples: how many. Batches that can't be divided are taken whole, at least two.
        """
        if samples >= self.samples:
            return self
        wanted = BATCHES if self.divisible else -(-samples * len(self.batches) // self.samples)
        count = min(max(wanted, 2), len(self.batches))
        last = len(self.batches) - 1
        picked = [self.batches[round(i * last / max(count - 1, 1))] for i in range(count)]
        if self.divisible:
            picked = [_rows(batch, 0, -(-samples // count)) for batch in picked]
        return replace(self, batches=tuple(picked))


def gather(
    data: Iterable[Any],
    program: ExportedProgram,
    *,
    samples: int = 1024,
    source: str = "an iterable",
    skipped: int = 0,
) -> Calibration:
    """Take inputs from an iterable and put them into batches that the program accepts.

    Args:
        data: what the model is called with: a tensor ``[n, ...]``, a tuple or list of such, or
            a mapping of inputs by name. Read until there are ``samples``.
        program: the dense program; its examples say what shapes and types are expected.
        samples: how many to take at most.
        source: for the report.
        skipped: for the report.

    Raises:
        LoadError: if there is none, or it isn't what the program accepts.
    """
    if _takes_items(program):
        found = tuple(checked_inputs(item, program) for item in islice(data, samples))
        return Calibration(_some(found), source, skipped, (_WHOLE,), whole=True)
    size = batch_size(program)
    batches = _some(tuple(batched(_taken(data, program, samples), size)))
    if not dynamic_batch(program) and _length(batches[-1]) < size:
        batches = batches[:-1]
    if not batches:
        raise LoadError(
            f"too few calibration samples: the program takes batches of {size}",
            hint="give more, or a model whose batch axis is dynamic",
            options=("calibration",),
        )
    if dynamic_batch(program) and len(batches) < BATCHES:
        have = sum(map(_length, batches))
        batches = tuple(batched(batches, -(-have // BATCHES)))
    return Calibration(batches, source, skipped, divisible=dynamic_batch(program))


def _some(batches: tuple[tuple[Any, ...], ...]) -> tuple[tuple[Any, ...], ...]:
    if not batches:
        raise LoadError(
            "the calibration data is empty",
            hint="give at least one input",
            options=("calibration",),
        )
    return batches


def _takes_items(program: ExportedProgram) -> bool:
    """Whether the batch is the first dimension of some inputs only, such as a graph's nodes beside its edges."""
    batched = [
        0 in dynamic_dims(program).get(name, {})
        or not (isinstance(leaf, torch.Tensor) and leaf.ndim)
        for name, leaf in zip(input_names(program), user_inputs(program), strict=True)
    ]
    return dynamic_batch(program) and not all(batched)


def dynamic_batch(program: ExportedProgram) -> bool:
    """Whether the program takes batches of any size."""
    return any(0 in dims for dims in dynamic_dims(program).values())


def batch_size(program: ExportedProgram) -> int:
    """Return how many samples to give the program at a time: fewer where values inside it are large."""
    given = _length(user_inputs(program))
    if not dynamic_batch(program):
        return given
    largest = max(map(_size, program.graph.nodes), default=0)
    return max(1, min(BATCH, ROOM * given // max(largest, 1)))


def _size(node: fx.Node) -> int:
    """Return the bytes of a value on the example inputs; 0 if its shape doesn't depend on theirs, or depends on values."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or is_data_dependent(value):
        return 0
    if not any(isinstance(size, torch.SymInt) for size in value.shape):
        return 0
    return math.prod(shape(node)) * value.element_size()


def batched(items: Iterable[tuple[Any, ...]], size: int) -> Iterator[tuple[Any, ...]]:
    """Regroup items into batches of ``size`` samples; the last one may be smaller.

    Args:
        items: flat inputs, each tensor ``[n, ...]`` with an ``n`` of the item's own.
        size: samples in a batch.
    """
    pending: list[tuple[Any, ...]] = []
    have = 0
    for item in items:
        pending.append(item)
        have += _length(item)
        if have < size:
            continue
        joined, whole = _joined(pending), have // size * size
        for start in range(0, whole, size):  # copies, so that no batch holds on to the rest
            yield _rows(joined, start, start + size, copy=True)
        pending = [_rows(joined, whole, have, copy=True)] if whole < have else []
        have -= whole
    if pending:
        yield _joined(pending)


def _taken(
    data: Iterable[Any], program: ExportedProgram, samples: int
) -> Iterator[tuple[Any, ...]]:
    """Iterate over checked, flat items until there are enough samples."""
    have = 0
    for item in data:
        leaves = checked_inputs(item, program)
        leaves = _rows(leaves, 0, samples - have)
        have += _length(leaves)
        yield leaves
        if have >= samples:
            return


def _length(leaves: Sequence[Any]) -> int:
    sizes = [len(x) for x in leaves if isinstance(x, torch.Tensor) and x.ndim]
    return sizes[0] if sizes else 1


def _rows(leaves: Sequence[Any], start: int, end: int, *, copy: bool = False) -> tuple[Any, ...]:
    kept = [x[start:end] if isinstance(x, torch.Tensor) and x.ndim else x for x in leaves]
    return tuple(x.clone() if copy and isinstance(x, torch.Tensor) else x for x in kept)


def _joined(items: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    columns = list(zip(*items, strict=True))
    return tuple(
        torch.cat(c) if isinstance(c[0], torch.Tensor) and c[0].ndim else c[0] for c in columns
    )
