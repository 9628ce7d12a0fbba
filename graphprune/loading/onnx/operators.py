"""The table of ONNX operators: name -> how it is computed with ATen calls.

An entry is a function of a ``Node`` and its inputs. An input that is left out is ``None``. A node without
an entry, or of a form that its entry refuses, runs whole in onnxruntime (``whole_nodes.py``); where that can't run it
either, the file can't be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphprune.errors import InternalError, LoadError

__all__ = ["OPERATORS", "Body", "Node", "OnnxOperator", "operator", "refuse", "unsupported"]


@dataclass(frozen=True)
class Node:
    """One call in an ONNX graph.

    Attributes:
        operator: its type, such as ``Conv``.
        name: of the call; its first result's name if it has none.
        inputs: names of values; ``""`` for one that is left out.
        outputs: names of the results; ``""`` for one that nobody reads.
        attributes: as Python values; a tensor is a numpy array, a graph is a ``Body``.
        opset: version of the operator set that the model asks for.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the default."""
        return self.attributes.get(name, default)

    def __str__(self) -> str:
        return f"{self.operator} node {self.name!a:.80}"


@dataclass(frozen=True)
class Body:
    """A graph that a call runs, such as a branch of an If.

    Attributes:
        nodes: calls, each after those that it reads; they read values around the body too.
        inputs: names.
        outputs: names.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Compute = Callable[..., Any]


@dataclass(frozen=True)
class OnnxOperator:
    """How one ONNX operator is computed: an entry of the table.

    Attributes:
        compute: ``(node, *inputs) -> result``, or a tuple of results.
        sizes: positions of inputs that must be known while the graph is read: sizes, axes,
            indices. Constants that are read nowhere else are no tensors of the network.
        fixed: positions of inputs that training leaves alone, such as statistics and scales: stored ones
            are buffers.
        bodies: whether it runs bodies; it then takes a function that does so after the node.
    """

    compute: Compute
    sizes: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()
    bodies: bool = False


OPERATORS: dict[str, OnnxOperator] = {}


def operator(
    *names: str,
    sizes: tuple[int, ...] = (),
    fixed: tuple[int, ...] = (),
    bodies: bool = False,
) -> Callable[[Compute], Compute]:
    """Enter a function into the table, under one or several names."""

    def enter(compute: Compute) -> Compute:
        for name in names:
            if name in OPERATORS:
                raise InternalError(f"the ONNX operator {name} has two entries")
            OPERATORS[name] = OnnxOperator(compute, sizes, fixed, bodies)
        return compute

    return enter


def refuse(node: Node, what: str) -> LoadError:
    """Make the error for a form of an operator that isn't supported."""
    return LoadError(
        f"{node}: {what} is not supported",
        hint="export the model again, or bring it as .pt2 or as PyTorch code",
    )


def unsupported(node: Node) -> LoadError:
    """Make the error for an operator without an entry."""
    return LoadError(
        f"no support for the ONNX operator {node.operator:.80} (node {node.name!a:.80})",
        hint="bring the model as .pt2 or as PyTorch code, or add an entry in "
        "graphprune/loading/onnx",
    )
