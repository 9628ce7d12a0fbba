"""The pass that ends a recovery with training: what a refit left until it was known whether training helps.

Before training, no weight is fitted on held-out data, by which training is judged. If training found nothing better,
that can be made up for; if it did, the scores of classes are scaled as after a refit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch.export import ExportedProgram

from graphprune.cut.cut import Cut
from graphprune.ir.program import state as stored_tensors
from graphprune.ir.program import unlift
from graphprune.passes.observe import Observations
from graphprune.pipeline import State, TransformPass

from .distil import Distilled
from .finetune import Finetuned
from .output_scale import output_scale, scaled_outputs
from .recover import Recover, Recovered, with_tensors

__all__ = ["Settle"]


@dataclass(frozen=True)
class Settle(TransformPass):
    """Refit on all data where training didn't help, and scale the scores of classes where distillation did.

    Given: a program that was refitted, then trained. Result: the same program with other weights, or as it is.
    Training with labels sets the scale of its scores by itself.
    """

    name: ClassVar[str] = "settle"
    needs = (Cut, Observations, Recovered)
    gives = (Recovered,)

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Recovered]]:
        """Refit or scale the weights, by what the training before reports."""
        distilled = state.get(Distilled)
        trained = distilled or state.get(Finetuned)
        if trained is None or not trained.after < trained.before:
            return Recover().run(state)
        if distilled is None:
            return state.program, (state[Recovered],)
        observations, cut = state[Observations], state[Cut]
        tensors = {name: x.detach() for name, x in stored_tensors(unlift(state.program)).items()}
        scale = output_scale(observations, cut, tensors)
        if scale != 1:
            scaled = scaled_outputs(observations, cut, tensors, scale)
            return with_tensors(state.program, scaled), (replace(state[Recovered], scale=scale),)
        return state.program, (state[Recovered],)
