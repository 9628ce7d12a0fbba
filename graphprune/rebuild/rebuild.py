"""Rebuild the smaller model in the user's class, where its code provably computes the same.

Whether the class's Python code still computes the right thing with sliced tensors is not guessed: the result must match
the cut program (``class_comparison.py``), or the user gets a trainable GraphModule and is told why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from graphprune.errors import VerifyError, first_line
from graphprune.ir.forward_errors import FORWARD_ERRORS, user_line
from graphprune.ir.program import state, unlift
from graphprune.ir.tensors import set_tensor
from graphprune.ir.trainable import TrainableGraph, trainable_graph
from graphprune.verify.oracle import TOLERANCE, CutRun

from .class_comparison import FLOAT64, ClassComparison
from .computed_weights import stored_weights
from .shrink_module import Following, shrink_module

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphprune.cut.cut import Cut

__all__ = ["Rebuilt", "rebuild"]


@dataclass(frozen=True)
class Rebuilt:
    """The smaller model as a module that can be trained and saved.

    Attributes:
        model: the user's class, or a GraphModule.
        own_class: whether it is the user's class.
        reason: why it isn't, else ``""``.
        max_error: against the cut program; 0 for a GraphModule, which is the program.
        tolerance: the bound on it.
        precision: the dtype in which the two were compared.
        follow: what of the user's class followed the cut.
    """

    model: nn.Module
    own_class: bool
    reason: str
    max_error: float
    tolerance: float = TOLERANCE
    precision: str = FLOAT64
    follow: Following | None = None


def rebuild(
    model: nn.Module | None, cut: Cut, small: ExportedProgram, runs: Sequence[CutRun] = ()
) -> Rebuilt:
    """Give the smaller model the user's class, where that provably computes the same.

    Args:
        model: the eager module that was traced; ``None`` if there was only a program.
        cut: what was removed from the dense program.
        small: the cut program, whose weights may have been changed since.
        runs: of the oracle. Those of the same program needn't be repeated.

    Returns:
        The smaller module: of the user's class, or a GraphModule with the reason why.
    """
    baked = list(cut.baked.values())
    reason = "the input was an exported program, not a module" if model is None else ""
    if model is not None and stored_weights(model, cut) is None:
        reason = f"its code would compute anew what is baked: {baked[0]}, {len(baked)} in all"
    if model is None or reason:
        return Rebuilt(_graph(small, cut), own_class=False, reason=reason, max_error=0.0)
    same = [run for run in runs if run.program is small]
    graph = same[0].graph if same else unlift(small)
    if cut.constants:  # the oracle ran with unrounded ones, the smaller model stores rounded ones
        same = []
    try:
        match = ClassComparison(model, cut.analysis, small).match(cut, graph, same)
        shrunk = shrink_module(model, cut, state(graph), follow=match.follow)
    except (*FORWARD_ERRORS, VerifyError) as problem:
        where = user_line(problem)
        reason = first_line(problem) + (f" ({where})" if where else "") + _gone(cut)
        return Rebuilt(_graph(small, cut), own_class=False, reason=reason, max_error=0.0)
    return Rebuilt(shrunk, True, "", match.error, match.tolerance, match.precision, match.follow)


def _graph(small: ExportedProgram, cut: Cut) -> TrainableGraph:
    """Convert the smaller program to a module that shares no tensor with the dense model, so that each is trained alone."""
    module = trainable_graph(small)
    dense = {_place(tensor) for tensor in state(cut.analysis.module).values()}
    made: dict[int, Tensor] = {}
    for name, tensor in state(module).items():
        if _place(tensor) not in dense:
            continue
        if id(tensor) not in made:
            own = tensor.detach().clone()
            trained = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(own, tensor.requires_grad) if trained else own
        set_tensor(module, name, made[id(tensor)])
    return module


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _gone(cut: Cut) -> str:
    """Name the branches that are gone, for the reason why a class can't be kept."""
    if not cut.left.gone:
        return ""
    names = [cut.analysis.groups[number].id for number in sorted(cut.left.gone)]
    more = f", {len(names)} groups in all" if names[5:] else ""
    return f"; without branches that are gone: {', '.join(names[:5])}{more}"
