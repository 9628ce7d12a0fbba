"""Arrange what a user gives as the flat inputs of a program, and check that they are such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.errors import LoadError
from graphprune.ir.devices import CPU, put
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import input_names, user_inputs

__all__ = ["checked_inputs"]


def checked_inputs(item: Any, program: ExportedProgram) -> tuple[Any, ...]:
    """Flatten what a model is called with into the program's inputs, on the CPU.

    Args:
        item: a tensor, a tuple or list of inputs, or a mapping of them by name, in whatever order.
        program: its examples say how many inputs there are, and of which shapes and types; the first axis may be of
            any size.

    Raises:
        LoadError: if they are others, or hold NaN or Inf.
    """
    leaves = put(_flat(item, program), CPU)
    _check(leaves, user_inputs(program), input_names(program))
    return leaves


def _flat(item: Any, program: ExportedProgram) -> tuple[Any, ...]:
    """Flatten inputs into calling order; those of a mapping by name, whatever its order."""
    if not isinstance(item, Mapping):
        return tuple(pytree.tree_leaves(item))
    names = input_names(program)
    if set(item) == set(names):
        return tuple(item[name] for name in names)
    spec = program.call_spec.in_spec
    assert spec is not None
    args, _ = spec.children()
    try:
        return tuple(
            spec.flatten_up_to(((dict(item),), {}) if args.num_children else ((), dict(item)))
        )
    except ValueError as error:
        raise LoadError(
            f"the data has {', '.join(map(str, item))}, the model takes {', '.join(names)}",
        ) from error


def _check(leaves: Sequence[Any], examples: Sequence[Any], names: Sequence[str]) -> None:
    if len(leaves) != len(examples):
        raise LoadError(
            f"the model takes {len(examples)} inputs ({', '.join(names)}), "
            f"the data has {len(leaves)}",
            hint="labels don't belong in calibration data: [x for x, label in loader]",
            options=("calibration",),
        )
    for name, got, want in zip(names, leaves, examples, strict=True):
        if not isinstance(want, torch.Tensor):
            continue
        if not isinstance(got, torch.Tensor) or got.dtype != want.dtype:
            kind = got.dtype if isinstance(got, torch.Tensor) else type(got).__name__
            raise LoadError(
                f"input {name}: {want.dtype} is expected, the data has {kind}",
                hint="give the data as the model is called with it, scaled as for its training",
            )
        if got.shape[1:] != want.shape[1:]:
            raise LoadError(
                f"input {name}: [n, {', '.join(map(str, want.shape[1:]))}] is expected, the "
                f"data has {list(got.shape)}",
            )
        if got.is_floating_point() and not bool(got.isfinite().all()):
            raise LoadError(f"input {name}: the data has values that aren't finite")
