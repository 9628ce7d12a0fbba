"""Recover by least squares or BatchNorm statistics, as a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.export import ExportedProgram

from graphprune.cut.cut import Cut
from graphprune.ir.program import relift, unlift
from graphprune.ir.tensors import fill
from graphprune.passes.observe import Observations, weights_left_out
from graphprune.pipeline import RunFact, State, TransformPass

from .batchnorm import reestimate
from .least_squares import Repaired, repair

__all__ = ["LayerFit", "Recover", "Recovered", "with_tensors"]


@dataclass(frozen=True)
class LayerFit:
    """What refitting one layer was worth.

    Attributes:
        layer: name of its weight.
        before: squared error on data kept aside with its old weights, all layers before it
            refitted.
        after: with its new ones.
        refitted: whether it has new ones.
    """

    layer: str
    before: float
    after: float
    refitted: bool


@dataclass(frozen=True)
class Recovered(RunFact):
    """What recovering was worth.

    Attributes:
        method: ``"ls"`` or ``"bn"``.
        before: relative squared error of the outputs on data kept aside, right after the cut.
        after: at the end; never above ``before``.
        refitted: layers with new weights.
        layers: layers looked at.
        fits: each of them, in graph order, as judged on data kept aside.
        left: weights that lost inputs, and that can't be refitted: shared, computed and not stored,
            or of an operator that isn't a layer.
    """

    method: str
    before: float
    after: float
    refitted: int
    layers: int
    fits: tuple[LayerFit, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recover(TransformPass):
    """Give a cut program weights with which it computes what the dense one does.

    Given: a cut program, how it was cut, and measurements of the dense program.
    Result: the same program with other weights, or as it was if they are no better.

    Attributes:
        method: ``"ls"``: refit all layers; ``"bn"``: only re-estimate BatchNorm statistics.
        everything: once it is known what is best, fit it again on all data. With False no weight
            is fitted on the data kept aside, and what follows can be judged on it.
    """

    name: ClassVar[str] = "recover"
    needs = (Cut, Observations)
    gives = (Recovered,)
    method: Literal["ls", "bn"] = "ls"
    everything: bool = True

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Recovered]]:
        """Repair, and compare on the batches kept aside."""
        observations, cut = state[Observations], state[Cut]
        before = repair(observations, cut, refitting=False)
        after = self._repaired(state, before)
        looked = {each.node for layer, _ in after.fits for each in observations.ties[layer]}
        left = weights_left_out(cut, looked) if self.method == "ls" else ()
        if after.error >= before.error:
            return state.program, (
                Recovered(self.method, before.error, before.error, 0, len(after.fits), left=left),
            )
        refitted = sum(fit.ridge > 0 for _, fit in after.fits)
        again = self.everything and self.method == "ls"
        final = repair(observations, cut, like=after) if again else after
        fits = tuple(
            LayerFit(layer.name, fit.before, fit.after, fit.ridge > 0) for layer, fit in after.fits
        )
        return with_tensors(state.program, final.tensors), (
            Recovered(self.method, before.error, after.error, refitted, len(fits), fits, left),
        )

    def _repaired(self, state: State, before: Repaired) -> Repaired:
        """The repaired network that the batches kept aside judge: they have no part in it."""
        observations, cut = state[Observations], state[Cut]
        if self.method == "bn":
            return repair(
                observations,
                cut,
                tensors=reestimate(observations, cut, before.tensors),
                refitting=False,
            )
        return state.get(Repaired) or repair(observations, cut)


def with_tensors(program: ExportedProgram, tensors: Mapping[str, Tensor]) -> ExportedProgram:
    """The program with other values in its parameters and buffers; see ``fill``."""
    module = unlift(program)
    fill(module, tensors)
    return relift(module, program)
