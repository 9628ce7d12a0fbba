"""The pass that refits the layers of a cut program, or re-estimates its BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.export import ExportedProgram

from graphprune.cut.cut import Cut
from graphprune.ir.program import unlift
from graphprune.ir.relift import relift
from graphprune.ir.tensors import fill_tensors
from graphprune.passes.observe import Observations, weights_left_out
from graphprune.pipeline import RunFact, State, TransformPass

from .batchnorm import reestimate, restandardise
from .least_squares import Repaired, repair
from .output_scale import output_scale, scaled_outputs

__all__ = ["LayerFit", "Recover", "Recovered", "with_tensors"]


@dataclass(frozen=True)
class LayerFit:
    """Error of one layer before and after its refit.

    Attributes:
        layer: name of the layer's weight.
        before: squared error on held-out data with the old weights, all layers before it
            refitted.
        after: squared error with the new weights.
        refitted: whether the layer has new weights, or a new bias.
    """

    layer: str
    before: float
    after: float
    refitted: bool


@dataclass(frozen=True)
class Recovered(RunFact):
    """Result of recovery: the error before and after, and which layers were refitted.

    Attributes:
        method: ``"ls"`` or ``"bn"``.
        before: relative squared error of the outputs on held-out data, right after the cut.
        after: that error at the end; never above ``before``.
        refitted: number of layers with new weights.
        layers: number of layers that were tried.
        fits: the fit of each of them, in graph order, as judged on held-out data.
        left: names of weights that lost inputs and can't be refitted: shared, computed and not
            stored, or of an operator that isn't a layer.
        scale: factor that the scores of classes were multiplied with, see ``output_scale``.
    """

    method: str
    before: float
    after: float
    refitted: int
    layers: int
    fits: tuple[LayerFit, ...] = ()
    left: tuple[str, ...] = ()
    scale: float = 1.0


@dataclass(frozen=True)
class Recover(TransformPass):
    """Refit the weights of a cut program so that it computes what the dense one does.

    Given: a cut program, how it was cut, and measurements of the dense program.
    Result: the same program with other weights, or as it was if they are no better.

    Attributes:
        method: ``"ls"``: refit all layers; ``"bn"``: only re-estimate BatchNorm statistics.
        everything: once the best strengths are known, fit again on all data. With False no weight
            is fitted on held-out data, so that later passes can be judged on it.
    """

    name: ClassVar[str] = "recover"
    needs = (Cut, Observations)
    gives = (Recovered,)
    method: Literal["ls", "bn"] = "ls"
    everything: bool = True

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Recovered]]:
        """Refit the program, and compare its error on the held-out batches."""
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
        tensors, scale = after.tensors, 1.0
        if again:
            tensors = repair(observations, cut, like=after).tensors
            scale = output_scale(observations, cut, after.tensors)
        if scale != 1:
            tensors = scaled_outputs(observations, cut, tensors, scale)
        if self.method == "ls":
            tensors = restandardise(observations, cut, tensors)
        fits = tuple(
            LayerFit(layer.name, fit.before, fit.after, fit.ridge > 0) for layer, fit in after.fits
        )
        return with_tensors(state.program, tensors), (
            Recovered(
                self.method, before.error, after.error, refitted, len(fits), fits, left, scale
            ),
        )

    def _repaired(self, state: State, before: Repaired) -> Repaired:
        """Return the repaired network that is judged on the held-out batches, which aren't fitted."""
        observations, cut = state[Observations], state[Cut]
        if self.method == "bn":
            return repair(
                observations,
                cut,
                tensors=reestimate(observations, cut, before.tensors),
                refitting=False,
            )
        known = state.get(Repaired)
        return known if known is not None and known.is_of(cut) else repair(observations, cut)


def with_tensors(program: ExportedProgram, tensors: Mapping[str, Tensor]) -> ExportedProgram:
    """Return the program with other values in its parameters and buffers; see ``fill``."""
    module = unlift(program)
    fill_tensors(module, tensors)
    return relift(module, program)
