"""Teacher and student: a dense network and a smaller one, and the values in which they are compared.

Values inside (hints) as well as outputs: Romero et al., "FitNets", ICLR 2015, section 2.2, without a map
between them, since it is known which channels were kept.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.graph import CodeGen

from graphprune.cut.cut import Cut
from graphprune.errors import OptionError
from graphprune.ir.devices import CPU
from graphprune.ir.nodes import is_comparable
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import fingerprint, unlift
from graphprune.ir.program import state as tensors_of
from graphprune.ir.run_on_device import put_graph
from graphprune.ir.tensors import fill_tensors
from graphprune.ir.trainable import as_trainable
from graphprune.passes.observe import Observations, kept_channels
from graphprune.pipeline import RunFact, State

__all__ = ["Inner", "Pair", "Teacher", "Values"]

STEEPNESS = 6
"""Exponent of a value's depth in the weight of its error. What was tried: ``docs/experiments.md``."""

Values = tuple[list[Tensor], list[Tensor]]
"""Floating-point outputs of a network, and its values inside."""


@dataclass(frozen=True)
class Teacher(RunFact):
    """Dense program towards whose values a smaller one is trained."""

    program: ExportedProgram


@dataclass(frozen=True)
class Inner:
    """Value inside both networks in which they are compared.

    Attributes:
        dense: its node in the dense network.
        small: its node in the smaller network.
        channel: the channel dimension.
        rows: indices of the dense channels that the smaller network has.
        depth: number of such values on the longest path to this one, itself included.
    """

    dense: fx.Node
    small: fx.Node
    channel: int
    rows: Tensor
    depth: int

    def kept_part(self, value: Tensor) -> Tensor:
        """Return the channels of the dense value that the smaller network has."""
        if len(self.rows) == value.shape[self.channel]:
            return value
        return value.index_select(self.channel, self.rows)


@dataclass(frozen=True)
class Pair:
    """Teacher and student; both take flat inputs and return ``Values``.

    Attributes:
        dense: the teacher, which must not be changed.
        small: the student, a trainable copy in evaluation mode.
        inner: the values inside that are compared.
    """

    dense: fx.GraphModule
    small: fx.GraphModule
    inner: tuple[Inner, ...]

    @classmethod
    def of(cls, dense: ExportedProgram, state: State, device: torch.device = CPU) -> Pair:
        """Pair the dense program with the program in the state, both on a device.

        Where the state knows how its program was cut from the dense one, all targets of layers
        (``observe/refit_targets.py``) are compared as well as the outputs.

        Raises:
            OptionError: if the program has no parameters to train, or no output to imitate, or other
                outputs than the dense one.
        """
        teacher = unlift(dense)
        observations, cut = state.get(Observations), state.get(Cut)
        small = unlift(state.program)
        if (
            observations
            and cut
            and fingerprint(teacher) == fingerprint(observations.analysis.module)
        ):
            student, copies = cut.graph()
            own = dict(zip(_read(observations.analysis.module), _read(teacher), strict=True))
            inner = _inner(observations, cut, own, copies, device)
        else:
            student, inner = small, ()
        fill_tensors(student, tensors_of(small))
        if not list(student.parameters()):
            raise OptionError("the program has no parameters to train")
        if len(_leaves(teacher)) != len(_leaves(student)):
            raise OptionError(
                f"the dense program has {len(_leaves(teacher))} outputs, "
                f"the smaller one {len(_leaves(student))}"
            )
        floats = [is_comparable(x) for x in _leaves(teacher)]
        if not any(floats):
            raise OptionError(
                "the model has no output to imitate: they hold no floats, or as many as values say"
            )
        teacher = _returning(teacher, floats, [each.dense for each in inner])
        student = _returning(student, floats, [each.small for each in inner])
        student = as_trainable(put_graph(student, device)).requires_grad_(True)
        return cls(put_graph(teacher, device), student, inner)

    @property
    def weights(self) -> list[float]:
        """Weight of the error of each value inside, which grows with its depth."""
        return [float(each.depth**STEEPNESS) for each in self.inner]

    def wanted(self, inputs: Sequence[Any]) -> Values:
        """Return the dense values that the smaller network should return."""
        with torch.no_grad():
            outputs, inside = self.dense(*inputs)
        return outputs, [
            each.kept_part(value) for each, value in zip(self.inner, inside, strict=True)
        ]


def _inner(
    observations: Observations,
    cut: Cut,
    dense: Mapping[fx.Node, fx.Node],
    small: Mapping[fx.Node, fx.Node],
    device: torch.device,
) -> tuple[Inner, ...]:
    """Find the targets of layers, or the ReLUs after them, each once; outputs are left out.

    Args:
        observations: measurements, whose graph has the targets.
        cut: which channels are removed.
        dense: node of that graph -> node of the dense network.
        small: node of that graph -> node of the smaller network.
        device: where the networks will be.
    """
    done = set(_leaves(observations.analysis.module))
    found: dict[fx.Node, tuple[int, Tensor]] = {}
    for layer, target in observations.targets.items():
        rows = kept_channels(layer, cut)
        if rows is not None and target.end not in done:
            done.add(target.end)
            found[target.end] = layer.channel, rows.nonzero().flatten().to(device)
    depths = _depths(observations.analysis.module, found)
    return tuple(
        Inner(dense[node], small[node], channel, rows, depths[node])
        for node, (channel, rows) in found.items()
    )


def _depths(module: fx.GraphModule, counted: Container[fx.Node]) -> dict[fx.Node, int]:
    """Count the given nodes on the longest path to each node, itself included."""
    found: dict[fx.Node, int] = {}
    for node in module.graph.nodes:
        found[node] = max((found[n] for n in node.all_input_nodes), default=0) + (node in counted)
    return found


def _read(module: fx.GraphModule) -> list[fx.Node]:
    """Return the nodes of a graph, without tensors that nothing reads."""
    return [n for n in module.graph.nodes if n.op != "get_attr" or n.users]


def _leaves(module: fx.GraphModule) -> list[Any]:
    return pytree.tree_leaves(module.graph.output_node().args[0])


def _returning(
    module: fx.GraphModule, floats: Sequence[bool], inner: Sequence[fx.Node]
) -> fx.GraphModule:
    """Change a graph to take flat inputs and to return ``Values``."""
    outputs = [leaf for leaf, is_float in zip(_leaves(module), floats, strict=True) if is_float]
    module.graph.output_node().args = ((outputs, list(inner)),)
    module.graph.set_codegen(CodeGen())
    return fx.GraphModule(module, module.graph)  # without the checks of inputs that a program makes
