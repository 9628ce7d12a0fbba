"""Calibration data: unlabelled inputs that show what a network's values look like in use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.errors import LoadError
from graphprune.graph import dynamic_dims, input_names, user_inputs

__all__ = ["BATCH", "Calibration", "gather"]

BATCH = 64
"""Most samples in a batch, where the program's batch axis is dynamic ..."""

BATCHES = 10
"""... and least number of batches, if there are as many samples: some are kept aside."""


@dataclass(frozen=True)
class Calibration:
    """Inputs of a program, in batches.

    Attributes:
        batches: each the program's inputs, flattened, in calling order, on the CPU.
        source: where they come from, for the report.
        skipped: how many items could not be read.
    """

    batches: tuple[tuple[Any, ...], ...]
    source: str = "an iterable"
    skipped: int = 0

    @property
    def samples(self) -> int:
        """Samples in all batches."""
        return sum(_length(batch) for batch in self.batches)

    def split(self, held_out: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Numbers of the batches to fit on, and of those kept aside (the last ones).

        Both are all batches if there is only one.
        """
        count = len(self.batches)
        aside = max(1, round(count * held_out))
        numbers = tuple(range(count))
        return (numbers[:-aside], numbers[-aside:]) if count > 1 else (numbers, numbers)


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
            a mapping of keyword inputs. Read until there are ``samples``.
        program: the dense program; its examples say what shapes and types are expected.
        samples: how many to take at most.
        source: for the report.
        skipped: for the report.

    Raises:
        LoadError: if there is none, or it isn't what the program accepts.
    """
    examples = user_inputs(program)
    dynamic = dynamic_dims(program)
    taken: list[tuple[Any, ...]] = []
    have = 0
    for item in data:
        leaves = tuple(pytree.tree_leaves(item))
        _check(leaves, examples, input_names(program))
        leaves = _first(leaves, samples - have)
        taken.append(leaves)
        have += _length(leaves)
        if have >= samples:
            break
    if not taken:
        raise LoadError("the calibration data is empty", hint="give at least one input")
    most = min(BATCH, -(-have // BATCHES))
    size = most if dynamic else _length(examples)
    joined = tuple(_joined([item[i] for item in taken]) for i in range(len(examples)))
    full = have if dynamic else have // size * size
    if full == 0:
        raise LoadError(
            f"{have} calibration samples, but the program takes batches of {size}",
            hint="give more, or a model whose batch axis is dynamic",
        )
    batches = tuple(
        tuple(x[i : i + size].clone() if isinstance(x, torch.Tensor) else x for x in joined)
        for i in range(0, full, size)
    )
    return Calibration(batches, source, skipped)


def _length(leaves: Sequence[Any]) -> int:
    sizes = [len(x) for x in leaves if isinstance(x, torch.Tensor) and x.ndim]
    return sizes[0] if sizes else 1


def _first(leaves: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return tuple(x[:count] if isinstance(x, torch.Tensor) else x for x in leaves)


def _joined(values: list[Any]) -> Any:
    return torch.cat(values) if isinstance(values[0], torch.Tensor) else values[0]


def _check(leaves: Sequence[Any], examples: Sequence[Any], names: Sequence[str]) -> None:
    if len(leaves) != len(examples):
        raise LoadError(
            f"the model takes {len(examples)} inputs ({', '.join(names)}), "
            f"the calibration data has {len(leaves)}",
            hint="labels don't belong in it",
        )
    for name, got, want in zip(names, leaves, examples, strict=True):
        if not isinstance(want, torch.Tensor):
            continue
        if not isinstance(got, torch.Tensor) or got.dtype != want.dtype:
            kind = got.dtype if isinstance(got, torch.Tensor) else type(got).__name__
            raise LoadError(f"input {name}: {want.dtype} is expected, the data has {kind}")
        if got.shape[1:] != want.shape[1:]:
            raise LoadError(
                f"input {name}: [n, {', '.join(map(str, want.shape[1:]))}] is expected, the "
                f"data has {list(got.shape)}",
            )
        if got.is_floating_point() and not bool(got.isfinite().all()):
            raise LoadError(f"input {name}: the data has values that aren't finite")
