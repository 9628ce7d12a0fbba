"""Nodes that no entry of the table computes: they run whole in onnxruntime, and stay in the file.

While a graph is run on trial, each such node runs in onnxruntime on the values that it reads, which shows
the types and sizes of its results. ``torch.export`` then meets one call of ``ir/whole_node.py`` in its place.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphprune.errors import GraphpruneError, LoadError
from graphprune.ir.observed_sizes import ObservedRun
from graphprune.ir.ort_process import OrtProcess
from graphprune.ir.whole_node import WHOLE_NODE, packed

from .bodies import bodies_of
from .node_macs import count_macs
from .one_node import NodeSource, numbers_of, type_number
from .operators import Body, Node
from .shapes import shape_of
from .values import MAX_ELEMENTS, Known, Value, tensor

if TYPE_CHECKING:
    import onnx

__all__ = ["WholeNodes"]

MAX_RUNS = 64
"""Most trial runs of a node that are kept: a node in a loop runs at every step."""

_UNFIT = (TypeError, KeyError, ValueError, RuntimeError, OverflowError)
"""What comes of values whose type numpy or torch lacks, or whose numbers that type doesn't hold."""

_RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
"""Operators that give other results every time, so nothing can be compared after them."""


_BY_CHANNEL = frozenset({"MaxRoiPool", "RoiAlign"})
"""Operators that compute each channel of their first input, ``[N, C, ...]``, on its own."""

Shapes = tuple[tuple[int, ...], ...]


@dataclass
class _Trial:
    """What was seen of a node.

    Attributes:
        types: numbers of the element types of its results.
        runs: the values that were read, the sizes of the results, and the multiply-accumulates.
    """

    types: tuple[int, ...]
    runs: list[tuple[dict[str, Value], Shapes, int]] = field(default_factory=list[Any])


_HINT = "bring the model as .pt2 or as PyTorch code"


class WholeNodes:
    """The nodes of a graph that onnxruntime computes.

    Args:
        data: the model, in which no name is given twice.

    Attributes:
        choices_whole: whether an If runs whole whose condition is computed; else both branches are followed.
        followed: the first results of such nodes that were followed -> what these are called.
        depth: how many bodies lie around the node that is run.
        kept: results of nodes that keep all rows of what they read and make -> why.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._trials: dict[tuple[str, ...], _Trial] = {}
        self._reasons: dict[str, str] = {}
        self._process: OrtProcess | None = None
        self.choices_whole = False
        self.followed: dict[str, str] = {}
        self.depth = 0
        self.kept: dict[tuple[str, ...], str] = {}

    def may_follow_both(self, node: Node) -> bool:
        """Tell whether both branches of an If may become part of the program, and note that they do."""
        if self.choices_whole:
            return False
        self.followed[node.outputs[0]] = str(node)
        return True

    @contextmanager
    def within_body(self) -> Generator[None]:
        """Count a body around what is run, as long as this context lasts."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    @contextmanager
    def trial(self, process: OrtProcess | None = None) -> Generator[None]:
        """Let nodes run on trial, in a process that they may end, as long as this context lasts.

        Args:
            process: one that runs on afterwards; by default one of its own.
        """
        self._process = own = process or OrtProcess()
        try:
            yield
        finally:
            self._process = None
            if process is None:
                own.close()

    @property
    def on_trial(self) -> bool:
        """Whether what no entry of the table computes is tried in onnxruntime."""
        return self._process is not None

    def forget(self) -> None:
        """Forget all nodes that were tried."""
        self._trials.clear()
        self._reasons.clear()

    @property
    def reasons(self) -> Mapping[str, str]:
        """What each node is called -> why no entry of the table computes it."""
        return dict(self._reasons)

    @cached_property
    def _source(self) -> NodeSource:
        return NodeSource.of(self._data)

    def __contains__(self, node: Node) -> bool:
        return node.outputs in self._trials

    def call(self, node: Node, values: Mapping[str, Value]) -> dict[str, torch.Tensor]:
        """Call the operator that runs a node which was tried before.

        Args:
            node: of the graph, or of a body.
            values: all that are known at that place, by name.
        """
        trial = self._trials[node.outputs]
        read = {name: values[name] for name in self._source.reads(node.outputs)}
        model, inputs, constants = self._model(node, read, trial.types)
        runs = [
            ObservedRun(tuple(tuple(shape_of(seen[name])) for name in inputs), sizes, macs)
            for seen, sizes, macs in trial.runs
            if all(_same(seen[name], value) for name, value in constants.items())
        ]
        rows = 1 if node.operator in _BY_CHANNEL else None
        text = packed(model, str(node), list(dict.fromkeys(runs)), rows)
        made = WHOLE_NODE([tensor(value) for value in inputs.values()], text)
        return dict(zip(filter(None, node.outputs), made, strict=True))

    def try_(
        self, node: Node, values: Mapping[str, Value], refusal: GraphpruneError
    ) -> dict[str, torch.Tensor]:
        """Run a node in onnxruntime, and note what it gives.

        Args:
            node: of the graph, or of a body.
            values: all that are known at that place, by name; none of them symbolic.
            refusal: why no entry of the table computes it.

        Raises:
            GraphpruneError: the refusal, where onnxruntime can't compute it either.
        """
        assert self._process, "trial() was not entered"
        reads = self._source.reads(node.outputs)
        if _draws(node) or not reads or any(n not in values for n in reads):
            raise refusal
        read = {name: values[name] for name in reads}
        if any(not hasattr(value, "dtype") for value in read.values()):
            raise LoadError(f"{refusal.message}; it reads a sequence", hint=refusal.hint or _HINT)
        try:
            model, inputs, _ = self._model(node, read)
            arrays = {name: tensor(value).detach().numpy() for name, value in inputs.items()}
        except (LoadError, *_UNFIT) as error:
            also = f"; {error.message}" if isinstance(error, LoadError) else ""
            raise LoadError(f"{refusal.message}{also}", hint=refusal.hint or _HINT) from error
        try:
            results = self._process.run(model.SerializeToString(), arrays, MAX_ELEMENTS)
            made = [torch.from_numpy(y) for y in results]
            types = tuple(type_number(y.dtype) for y in made)
        except _UNFIT as error:
            raise refusal from error
        except LoadError as error:
            raise LoadError(
                f"{refusal.message}; {error.message}",
                hint=f"state other sizes of the inputs, if these don't fit it; {refusal.hint or _HINT}",
                options=("input",),
            ) from error
        self._note(node, read, made, types)
        self._reasons.setdefault(str(node), refusal.message)
        return dict(zip(filter(None, node.outputs), made, strict=True))

    def _note(
        self,
        node: Node,
        read: Mapping[str, Value],
        made: Sequence[torch.Tensor],
        types: tuple[int, ...],
    ) -> None:
        """Note a run: the numbers that were read, the sizes of tensors, and the costs."""
        trial = self._trials.setdefault(node.outputs, _Trial(types))
        if len(trial.runs) < MAX_RUNS:
            seen = {
                name: value if isinstance(value, Known) else value.to("meta")
                for name, value in read.items()
            }
            shapes = tuple(tuple(y.shape) for y in made)
            trial.runs.append((seen, shapes, self._macs(node, read, made)))

    def _model(
        self, node: Node, read: Mapping[str, Value], types: Sequence[int] = ()
    ) -> tuple[onnx.ModelProto, dict[str, Value], dict[str, Known]]:
        """Make a model of a node; return it with what it reads, and with the numbers that it holds."""
        inputs, constants = _split(read)
        kinds = {name: type_number(value.dtype) for name, value in inputs.items()}
        stored = {name: numbers_of(value) for name, value in constants.items()}
        model = self._source.model_of(node.outputs, kinds, stored, types)
        return model, inputs, constants

    def _macs(self, node: Node, read: Mapping[str, Value], made: Sequence[torch.Tensor]) -> int:
        model = self._source.model_of(
            node.outputs, {name: type_number(value.dtype) for name, value in read.items()}, {}
        )
        results = zip(filter(None, node.outputs), made, strict=True)
        sizes = {name: tuple(shape_of(value)) for name, value in (*read.items(), *results)}
        return count_macs(model, sizes)


def _split(read: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Known]]:
    """Part what a call reads as tensors from the numbers that its model holds."""
    constants = {
        name: value
        for name, value in read.items()
        if isinstance(value, Known) and value.stored is None and not value.symbolic
    }
    if len(constants) == len(read):  # an operator needs a tensor
        constants.pop(next(iter(constants)))
    return {name: value for name, value in read.items() if name not in constants}, constants


def _same(a: Value, b: Known) -> bool:
    return isinstance(a, Known) and np.array_equal(numbers_of(a), numbers_of(b))


def _draws(node: Node) -> bool:
    """Whether a node, or one of its bodies, draws random numbers."""
    bodies: list[Body] = bodies_of(node)
    kind = node.operator.rpartition(".")[2]
    return kind in _RANDOM or any(_draws(inner) for body in bodies for inner in body.nodes)
