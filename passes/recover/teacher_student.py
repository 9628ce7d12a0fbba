"""A dense network and a smaller one, and the values in which they are compared.

Values inside as well as outputs: Romero et al., "FitNets", ICLR 2015, section 2.2, without a map
between them, since it is known which channels stayed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.graph import CodeGen
from torch.utils import _pytree as pytree

from graphprune.cut.cut import Cut
from graphprune.errors import OptionError
from graphprune.ir.nodes import is_comparable
from graphprune.ir.program import fingerprint, unlift
from graphprune.ir.program import state as tensors_of
from graphprune.ir.tensors import fill
from graphprune.ir.trainable import obeying
from graphprune.passes.observe import Observations, kept_channels
from graphprune.pipeline import RunFact, State

__all__ = ["Inner", "Pair", "Teacher", "Values"]

STEEPNESS = 6
"""Power of a value's depth that its error counts with. What was tried: ``docs/recovery.md``."""

Values = tuple[list[Tensor], list[Tensor]]
"""What a network of a pair returns: its floating-point outputs, and values inside."""


@dataclass(frozen=True)
class Teacher(RunFact):
    """The program whose values a smaller one is trained towards."""

    program: ExportedProgram


@dataclass(frozen=True)
class Inner:
    """A value inside, in both networks.

    Attributes:
        dense: its node in the dense network.
        small: in the smaller one.
        channel: the channel dimension.
        rows: the dense channels that the smaller network has.
        depth: how many such values lie on the longest way to this one, with itself.
    """

    dense: fx.Node
    small: fx.Node
    channel: int
    rows: Tensor
    depth: int

    def kept_part(self, value: Tensor) -> Tensor:
        """The channels of the dense value that the smaller network has."""
        if len(self.rows) == value.shape[self.channel]:
            return value
        return value.index_select(self.channel, self.rows.to(value.device))


@dataclass(frozen=True)
class Pair:
    """Both take flat inputs and return ``Values``.

    Attributes:
        dense: not changed, not to be changed.
        small: a trainable copy, in evaluation mode.
        inner: what the values inside are.
    """

    dense: fx.GraphModule
    small: fx.GraphModule
    inner: tuple[Inner, ...]

    @classmethod
    def of(cls, dense: ExportedProgram, state: State) -> Pair:
        """The dense program, and the state's.

        Where the state knows how its program was cut from the dense one, all values that a layer's
        error counts in (``observe/targets.py``) are compared.

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
            inner = _inner(observations, cut, own, copies)
        else:
            student, inner = small, ()
        fill(student, tensors_of(small))
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
        return cls(teacher, obeying(student).requires_grad_(True), inner)

    @property
    def weights(self) -> list[float]:
        """How much the error of each value inside counts: the more, the deeper the value lies."""
        return [float(each.depth**STEEPNESS) for each in self.inner]

    def wanted(self, inputs: Sequence[Any]) -> Values:
        """What the smaller network should return."""
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
) -> tuple[Inner, ...]:
    """Values that layers aim at, or the ReLUs behind them, each once; not the outputs themselves.

    Args:
        observations: names them, in its own graph.
        cut: what is removed.
        dense: from its nodes to those of the dense network.
        small: to those of the smaller one.
    """
    done = set(_leaves(observations.analysis.module))
    found: dict[fx.Node, tuple[int, Tensor]] = {}
    for layer, target in observations.targets.items():
        rows = kept_channels(layer, cut)
        if rows is not None and target.end not in done:
            done.add(target.end)
            found[target.end] = layer.channel, rows.nonzero().flatten()
    depths = _depths(observations.analysis.module, found)
    return tuple(
        Inner(dense[node], small[node], channel, rows, depths[node])
        for node, (channel, rows) in found.items()
    )


def _depths(module: fx.GraphModule, counted: Container[fx.Node]) -> dict[fx.Node, int]:
    """How many of the counted nodes lie on the longest way to each node, with itself."""
    found: dict[fx.Node, int] = {}
    for node in module.graph.nodes:
        found[node] = max((found[n] for n in node.all_input_nodes), default=0) + (node in counted)
    return found


def _read(module: fx.GraphModule) -> list[fx.Node]:
    """The nodes; not those of tensors that nothing reads."""
    return [n for n in module.graph.nodes if n.op != "get_attr" or n.users]


def _leaves(module: fx.GraphModule) -> list[Any]:
    return pytree.tree_leaves(module.graph.output_node().args[0])


def _returning(
    module: fx.GraphModule, floats: Sequence[bool], inner: Sequence[fx.Node]
) -> fx.GraphModule:
    """The same graph, changed to take flat inputs and to return ``Values``."""
    outputs = [leaf for leaf, is_float in zip(_leaves(module), floats, strict=True) if is_float]
    module.graph.output_node().args = ((outputs, list(inner)),)
    module.graph.set_codegen(CodeGen())
    return fx.GraphModule(module, module.graph)  # without the checks of inputs that a program makes
