"""Make an edited graph a program again, which re-infers every shape and proves that the graph is still well formed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch.export import Dim, ExportedProgram

from graphprune.errors import LoadError, TraceError, first_line

from .dynamic_shapes import input_dims, shapes_by_parameter
from .example_inputs import separated
from .forward_errors import FORWARD_ERRORS
from .infer_shapes import infer_shapes
from .private_torch import pytree
from .program import dynamic_dims, input_nodes
from .trace import silence_torch

__all__ = ["fixed_sizes", "relift"]

logger = logging.getLogger(__name__)


def relift(module: fx.GraphModule, like: ExportedProgram) -> ExportedProgram:
    """Make an edited graph a program again, with the inputs of ``like``, and its dynamic dimensions where torch can.

    Shapes are inferred as far as that assumes nothing new of the dynamic sizes (``infer_shapes.py``); else the graph
    is exported. Where torch can't keep them dynamic, sizes are fixed at those of the example inputs; ``fixed_sizes`` tells.

    Raises:
        LoadError: if ``like`` carries no example inputs.
        TraceError: if torch can't export it with fixed sizes either.
    """
    if like.example_inputs is None:
        raise LoadError(
            "the program carries no example inputs",
            hint="give it some: program.example_inputs = ((x,), {})",
        )
    args, kwargs = separated(like.example_inputs)
    program = infer_shapes(module, like, (args, kwargs))
    return program if program is not None else _exported(module, like, args, kwargs)


def _exported(
    module: fx.GraphModule, like: ExportedProgram, args: Any, kwargs: Any
) -> ExportedProgram:
    failure: Exception | None = None
    for shapes, wanted in _attempts(module, like, args, kwargs):
        try:
            with silence_torch():
                program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
        except FORWARD_ERRORS as error:
            logger.info("torch.export failed on an edited graph: %s", error)
            failure = failure or error
            continue
        if _places(program) >= wanted:
            return program
    raise TraceError(
        f"torch.export can't capture the edited program: {first_line(failure)}",
        hint="leave the layers whole whose sizes the message speaks of",
        options=("protect",),
    ) from failure


def fixed_sizes(program: ExportedProgram, dense: ExportedProgram) -> tuple[str, ...]:
    """List the inputs whose sizes are dynamic in the dense program, but fixed in one made from it."""
    return tuple(name for name in dynamic_dims(dense) if name not in dynamic_dims(program))


def _attempts(
    module: fx.GraphModule, like: ExportedProgram, args: Any, kwargs: Any
) -> Iterator[tuple[Any, set[tuple[str, int]]]]:
    """Yield dynamic shapes to try, best first, and the dimensions that must be dynamic then."""
    wanted = _places(like)
    if any(dim for _, dim in wanted):
        # Sizes such as a strided convolution's hold only beyond some least input: torch finds it.
        yield _dynamic_shapes(module, like, args, kwargs, inferred=True), wanted
    yield _dynamic_shapes(module, like, args, kwargs), set()
    yield None, set()


def _places(program: ExportedProgram) -> set[tuple[str, int]]:
    """List the dynamic dimensions: the name of each input, and which of its dimensions."""
    return {(name, dim) for name, dims in dynamic_dims(program).items() for dim in dims}


def _dynamic_shapes(
    module: fx.GraphModule,
    program: ExportedProgram,
    args: Any,
    kwargs: Any,
    *,
    inferred: bool = False,
) -> Any:
    """Build the ``dynamic_shapes`` argument that reproduces a program's symbolic dimensions.

    With ``inferred``, torch finds the bounds of all dimensions but the leading ones.
    """
    dims: dict[str, Any] = {}
    leaves = [input_dims(node, program, dims) for node in input_nodes(program)]
    if inferred:
        leaves = [
            None if leaf is None else {d: dim if d == 0 else Dim.AUTO for d, dim in leaf.items()}
            for leaf in leaves
        ]
    _, spec = pytree.tree_flatten((args, kwargs))
    by_position, by_name = pytree.tree_unflatten(leaves, spec)
    return shapes_by_parameter(module, by_position, by_name)
