"""The operator ``graphprune::onnx_node``: a node of an ONNX file that onnxruntime runs as it stands.

It takes the place of nodes that no ATen call computes. A call holds its node as a model of one node, with the
sizes that trial runs have shown, so a program needs nothing beside this package and onnxruntime.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphprune.errors import LoadError, OptionError, innermost

from .observed_sizes import ObservedRun, result_sizes
from .ort import plain_session, run_arrays, runtime_errors
from .relative_error import largest_finite, relative_error

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = [
    "WHOLE_NODE",
    "alike_results",
    "node_macs",
    "node_name",
    "packed",
    "row_axis",
    "run_in_float64",
]

_NAME, _RUNS, _ROWS = "graphprune.node", "graphprune.runs", "graphprune.rows"
"""Keys of a model's metadata: what the node is called, the sizes and costs of runs, and the axis of rows on their own."""

_ALIKE = 1e-9
"""Relative difference up to which two inputs in float64 count as the same."""

_REMEMBERED = 2
"""How many runs of each call are remembered: of the two programs that are compared."""


def packed(
    model: onnx.ModelProto, name: str, runs: Sequence[ObservedRun], rows: int | None = None
) -> str:
    """Write a model of one node as the text that the operator takes.

    Args:
        model: whose inputs and outputs state their element types. It gets metadata.
        name: what reports call the node.
        runs: the sizes that were observed.
        rows: an axis of the first input and of all results: each row of a result is made of the same row of that
            input alone, whatever the other rows are.
    """
    from onnx import helper

    listed = [[run.inputs, run.outputs, run.macs] for run in runs]
    props = {_NAME: name, _RUNS: json.dumps(listed)} | ({} if rows is None else {_ROWS: str(rows)})
    helper.set_model_props(model, props)
    data = model.SerializeToString(deterministic=True)
    return base64.b85encode(zlib.compress(data)).decode()


@dataclass(frozen=True, eq=False)
class _Node:
    """A packed node, read.

    Attributes:
        session: runs it.
        name: what reports call it.
        inputs: element types by name.
        outputs: element types.
        runs: the sizes that were observed.
        rows: the axis of rows that are computed each on its own, if there is one.
    """

    session: onnxruntime.InferenceSession
    name: str
    inputs: dict[str, np.dtype[Any]]
    outputs: tuple[torch.dtype, ...]
    runs: tuple[ObservedRun, ...]
    rows: int | None


@lru_cache(maxsize=256)
def _unpacked(text: str) -> _Node:
    import onnx
    from onnx import helper

    data = zlib.decompress(base64.b85decode(text))
    model = onnx.ModelProto.FromString(data)
    props = {each.key: each.value for each in model.metadata_props}
    kinds = [
        {v.name: helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in values}
        for values in (model.graph.input, model.graph.output)
    ]
    runs = tuple(
        ObservedRun(tuple(map(tuple, inputs)), tuple(map(tuple, outputs)), macs)
        for inputs, outputs, macs in json.loads(props[_RUNS])
    )
    outputs = tuple(torch.from_numpy(np.empty(0, kind)).dtype for kind in kinds[1].values())
    rows = int(props[_ROWS]) if _ROWS in props else None
    try:
        session = plain_session(data)
    except runtime_errors() as failure:  # results of a type that numpy lacks look like another
        raise LoadError(
            f"{props[_NAME]}: onnxruntime can't run it: {innermost(failure)}"
        ) from failure
    return _Node(session, props[_NAME], kinds[0], outputs, runs, rows)


def node_macs(text: str, sizes: Sequence[Sequence[int]]) -> int:
    """Read how many multiply-accumulates a call makes on inputs of these sizes; 0 if none was observed."""
    given = tuple(map(tuple, sizes))
    return next((run.macs for run in _unpacked(text).runs if run.inputs == given), 0)


def node_name(text: str) -> str:
    """Read what reports call the node of a call."""
    return _unpacked(text).name


def row_axis(text: str) -> int | None:
    """Read the axis of the first input, and of all results, whose rows the node computes each on its own."""
    return _unpacked(text).rows


@torch.library.custom_op("graphprune::onnx_node", mutates_args=())
def _onnx_node(inputs: Sequence[torch.Tensor], model: str) -> list[torch.Tensor]:
    """Run a node of an ONNX file in onnxruntime."""
    node = _unpacked(model)
    arrays = {
        name: np.asarray(x.detach().cpu().numpy(), dtype=kind)
        for (name, kind), x in zip(node.inputs.items(), inputs, strict=True)
    }
    try:
        made = run_arrays(node.session, arrays)
    except LoadError as failure:
        raise LoadError(f"{node.name}: {failure.message}") from failure
    device = inputs[0].device
    return [torch.from_numpy(np.array(y, order="C")).to(device) for y in made]


@_onnx_node.register_fake
def _sizes(inputs: Sequence[torch.Tensor], model: str) -> list[torch.Tensor]:
    node = _unpacked(model)
    unknown = torch.library.get_ctx().new_dynamic_size
    given: list[list[Any]] = [list(x.shape) for x in inputs]
    if (axis := node.rows) is None:
        sizes = result_sizes(node.name, node.runs, given, unknown)
    else:  # a cut leaves fewer rows than any run had
        count, given[0][axis] = given[0][axis], node.runs[0].inputs[0][axis]
        sizes = result_sizes(node.name, node.runs, given, unknown)
        for each in sizes:
            each[axis] = count
    return [
        inputs[0].new_empty(each, dtype=dtype)
        for each, dtype in zip(sizes, node.outputs, strict=True)
    ]


def _no_gradient(context: Any, *gradients: Any) -> Any:
    raise OptionError(
        f"{context.name} runs in onnxruntime, which gives no gradient",
        hint="choose a criterion and a repair that don't train",
    )


def _remember_name(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.name = node_name(inputs[1])


_onnx_node.register_autograd(_no_gradient, setup_context=_remember_name)

WHOLE_NODE: Any = torch.ops.graphprune.onnx_node.default
"""``(Tensor[] inputs, str model) -> Tensor[]``"""

_Remembered = dict[str, list[tuple[list[torch.Tensor], list[torch.Tensor]]]]
_remembered: ContextVar[_Remembered | None] = ContextVar("remembered", default=None)


@contextmanager
def alike_results() -> Generator[None]:
    """Give the same results for the same inputs in float64, up to what float64 rounds.

    onnxruntime computes such a node in float32 only. Of two programs that agree up to the node, the inputs
    might be rounded to either side there; then nothing after it could be compared in float64.
    """
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def run_in_float64(inputs: Sequence[torch.Tensor], model: str) -> list[torch.Tensor]:
    """Run the operator on inputs in float64, which onnxruntime gets in the node's own types.

    Args:
        inputs: of the node.
        model: the packed node.

    Returns:
        Its results, floats among them in float64.
    """
    remembered = _remembered.get()
    axis = row_axis(model)
    for before, results in remembered.get(model, ()) if remembered is not None else ():
        places = _places(inputs, before, axis)
        if places is not None:
            return [y.clone() if axis is None else y.index_select(axis, places) for y in results]
    made: list[torch.Tensor] = WHOLE_NODE(list(inputs), model)
    results = [y.double() if y.is_floating_point() else y for y in made]
    if remembered is not None:
        runs = remembered.setdefault(model, [])
        runs.append(([x.clone() for x in inputs], [y.clone() for y in results]))
        del runs[:-_REMEMBERED]
    return results


def _places(
    inputs: Sequence[torch.Tensor], before: Sequence[torch.Tensor], axis: int | None
) -> torch.Tensor | None:
    """Find the rows of an earlier run's first input that are alike, in order; ``None`` if any input differs.

    Without an axis of rows, all of the inputs have to be alike, and there are no rows to tell.
    """
    if not all(map(_alike, inputs[1:], before[1:])):
        return None
    if axis is None:
        return torch.empty(0, dtype=torch.int64) if _alike(inputs[0], before[0]) else None
    rows, earlier = (x.movedim(axis, 0) for x in (inputs[0], before[0]))
    scale = largest_finite(earlier)
    found, place = list[int](), 0
    for row in rows:
        while place < len(earlier) and not _alike(row, earlier[place], scale):
            place += 1
        if place == len(earlier):
            return None
        found.append(place)
        place += 1
    return torch.tensor(found, dtype=torch.int64)


def _alike(a: torch.Tensor, b: torch.Tensor, scale: float = 0.0) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    return relative_error(a, b, floor=scale) <= _ALIKE
