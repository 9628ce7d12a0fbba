"""An ONNX file that a program was read from: what is needed to edit it when the program is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .aside import Aside
from .check import OnnxCheck
from .io_names import IONames
from .open_sizes import FixedSize, fixed_sizes_note

__all__ = ["OnnxFile"]

_LISTED = 5
"""How many nodes a note lists."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX model and how a program's tensors and calls follow from it.

    The line number in the source of a call is the position of its node in the graph, from 1; those within bodies are
    counted on from the last one.

    Attributes:
        data: the model as one message, weights inside.
        names: of inputs, outputs and dynamic dimensions, and the opset.
        tensors: name of an initialiser, or of a ``Constant`` node's result -> qualified name of the
            program's tensor with the same values.
        counts: name of a list of numbers that is known on the example inputs, such as sizes -> how
            many they are.
        check: of the program against the file in onnxruntime.
        whole: what a node is called that onnxruntime runs in the program too -> why no rule computes it.
        choices: what nodes are called of which both branches are in the program.
        kept: what nodes are called that keep all rows of what they read and make -> why no cut can be written into them.
        left_out: names of the outputs that were left out when it was read.
        fixed: sizes that the file leaves open, but the program fixes.
        shell: the model with calls of local functions, which are inlined in ``data``, without stored tensors.
        aside: outputs that were set aside, if any.
        copies: stored tensors that the file had once for several readers: name of each copy -> name of the tensor.
    """

    data: bytes = field(repr=False)
    names: IONames
    tensors: Mapping[str, str] = field(repr=False)
    counts: Mapping[str, int] = field(repr=False)
    check: OnnxCheck
    whole: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    choices: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    left_out: tuple[str, ...] = ()
    fixed: tuple[FixedSize, ...] = ()
    shell: bytes = field(default=b"", repr=False)
    aside: Aside | None = None
    copies: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what is left out or fixed, and which nodes stay as they are, for the report."""
        found: list[str] = []
        if self.left_out:
            names = ", ".join(self.left_out)
            found.append(
                f"outputs left out of the file: {names}. Dense costs are those of what is left"
            )
        if self.aside:
            found.append(self.aside.note)
        if self.fixed:
            found.append(fixed_sizes_note(self.fixed))
        if self.choices:
            found.append(
                "costs count both branches of nodes that choose while the model runs, and both are cut: "
                + _listed(self.choices)
            )
        if self.whole:
            found.append(
                f"{len(self.whole)} of the file's nodes stay as they are, and what they touch, unless they take it "
                f"channel by channel: {_listed(list(self.whole.values()))}"
            )
        if self.kept:
            found.append(
                f"{len(self.kept)} of the file's nodes keep all rows of what they read and make, since the file can only "
                f"be edited: {_listed(list(self.kept.values()))}"
            )
        return tuple(found)


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return "; ".join([*names[:_LISTED], *more])
