"""Draw inputs on which programs are compared: other values than the examples', other sizes.

They are drawn by numpy: torch's own random numbers are fixed where a network draws some.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphprune.ir.grown_sizes import grown_shapes
from graphprune.ir.nodes import is_continuous
from graphprune.ir.program import dynamic_dims, input_names, user_inputs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = [
    "drawn_like",
    "leading_size",
    "native_inputs",
    "random_inputs",
    "size_growths",
    "tiled",
]


def random_inputs(
    program: ExportedProgram, grow: int, seed: int, *, shuffled: bool = False
) -> list[Any]:
    """Draw flat inputs like the program's examples, in double precision.

    Floats are drawn with the mean and the spread of the example, anew for every input; other values
    are the example's own.

    Args:
        program: has the examples.
        grow: by how much symbolic sizes are larger; see ``grown_shapes``.
        seed: of the values.
        shuffled: put integers and truth values in another order.
    """
    generator = np.random.default_rng(seed)
    shapes = grown_shapes(program, grow)
    made: list[Any] = []
    for name, leaf in zip(input_names(program), user_inputs(program), strict=True):
        if not isinstance(leaf, torch.Tensor):
            made.append(leaf)
        elif shuffled or is_continuous(leaf):
            made.append(drawn_like(leaf, shapes[name], generator))
        else:
            made.append(tiled(leaf, shapes[name]))
    return made


def drawn_like(
    example: torch.Tensor, shape: Sequence[int], generator: np.random.Generator
) -> torch.Tensor:
    """Draw values like those of an example.

    Returns:
        Floats with the mean and the spread of the example's, in double precision; of other types, some of its own
        values, or zeros if it has none.
    """
    if is_continuous(example):
        return _normal_like(example, shape, generator)
    flat = example.detach().cpu().flatten()
    if not len(flat):
        return flat.new_zeros(tuple(shape))
    return flat[torch.from_numpy(np.asarray(generator.integers(len(flat), size=tuple(shape))))]


def tiled(value: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Repeat a tensor along its axes up to a shape, cut off where that isn't a multiple; zeros of one without elements."""
    if not value.numel():
        return value.new_zeros(tuple(shape))
    for dim, size in enumerate(shape):
        value = value.index_select(dim, torch.arange(size) % value.shape[dim])
    return value.clone()


def native_inputs(
    program: ExportedProgram, grow: int, seed: int, *, shuffled: bool = False
) -> list[Any]:
    """Draw inputs as ``random_inputs`` does, rounded to the types that the program takes."""
    drawn = random_inputs(program, grow, seed, shuffled=shuffled)
    return [
        value.to(example.device, example.dtype) if isinstance(value, torch.Tensor) else value
        for value, example in zip(drawn, user_inputs(program), strict=True)
    ]


def size_growths(program: ExportedProgram) -> tuple[int, ...]:
    """List by how much symbolic sizes grow in each comparison: 0 and 1, or just 0 without such sizes."""
    return (0, 1) if dynamic_dims(program) else (0,)


def leading_size(inputs: Sequence[Any]) -> int:
    """Return the size of the first dimension of the first input that has one, the batch; or 1."""
    shapes = [x.shape for x in inputs if isinstance(x, torch.Tensor) and x.ndim]
    return int(shapes[0][0]) if shapes else 1


def _normal_like(
    leaf: torch.Tensor, shape: Sequence[int], generator: np.random.Generator
) -> torch.Tensor:
    wide = torch.complex128 if leaf.is_complex() else torch.float64
    drawn = torch.from_numpy(generator.standard_normal(tuple(shape)))
    if leaf.is_complex():
        drawn = torch.complex(drawn, torch.from_numpy(generator.standard_normal(tuple(shape))))
    if leaf.is_meta or not leaf.numel():
        return drawn
    value = leaf.detach().cpu().to(wide)
    mean, spread = value.mean(), value.std(unbiased=False)
    return mean + (spread if float(abs(spread)) > 0 else 1.0) * drawn
