"""Measure the sizes of a program that depend on values, by one run on its example inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from graphprune.errors import TraceError, first_line
from graphprune.ir.data_sizes import DataSizes, SizeReader
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.nodes import source_line
from graphprune.ir.sizes import is_data_dependent
from graphprune.ops.fixed_random import fix_random_numbers

from .frozen import operator_of

__all__ = ["measure_sizes"]


def measure_sizes(module: fx.GraphModule, inputs: Sequence[Any]) -> DataSizes:
    """Measure the sizes that depend on values; a graph without such sizes isn't run.

    Args:
        module: the graph, with ``val`` metadata.
        inputs: its example inputs, flat; none, if it has none.

    Raises:
        TraceError: if it can't run on them, or there are none with values.
    """
    first = next((n for n in module.graph.nodes if is_data_dependent(n.meta.get("val"))), None)
    if first is None:
        return DataSizes()
    message = f"the sizes that {operator_of(first)} gives depend on values"
    tensors = [x for x in (*inputs, *module.parameters()) if isinstance(x, torch.Tensor)]
    missing = len(inputs) < len(module.graph.find_nodes(op="placeholder"))
    if missing or any(x.is_meta for x in tensors):
        raise TraceError(
            f"{message}, and there are none to run it on",
            where=source_line(first),
            hint="give example inputs, and load the model, on a device that holds values",
        )
    try:
        with fix_random_numbers(module.graph):
            return SizeReader(module).sizes(inputs)
    except FORWARD_ERRORS as error:
        raise TraceError(
            f"{message}, and the program fails on its example inputs: {first_line(error)}",
            where=source_line(first),
            hint="give example inputs that the model accepts",
        ) from error
