"""Refit the layers of a cut network, front to back, towards the dense network's values.

Each layer sees the inputs that the cut network really has, with all refits before it; its target
is the dense value after it (``graphprune.passes.observe.refit_targets``), less what a shortcut adds. So
each refit compensates the errors before it, those of the shortcut included.

Source: He, Zhang, Sun 2017 (arXiv:1707.06168, sections 3.1 and 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from graphprune.cut.cut import Cut
from graphprune.passes.observe import ROOM, Layer, Observations, StoredTensors, kept_channels
from graphprune.pipeline import RunFact

from .constants import refit_constant
from .layer_problem import LayerProblem
from .ridge import THOROUGH, Fit, Search

__all__ = ["Repaired", "repair"]

HELPED = 0.98
"""A refit helps if the layer's error falls to less than this share of what it was."""


@dataclass(frozen=True)
class Repaired(RunFact):
    """Tensors of a cut network whose layers were refitted, and its error.

    Attributes:
        tensors: all parameters and buffers by name.
        error: relative squared error of the outputs on the held-out batches.
        fits: the fit of each layer, in graph order.
        cut: the cut whose network it is.
    """

    tensors: Mapping[str, Tensor]
    error: float
    fits: tuple[tuple[Layer, Fit], ...]
    cut: Cut = field(repr=False)

    def is_of(self, cut: Cut) -> bool:
        """Whether a cut keeps the same channels as the one that was repaired."""
        return bool(np.array_equal(self.cut.kept.alive, cut.kept.alive))


def repair(
    observations: Observations,
    cut: Cut,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    refitting: bool = True,
    like: Repaired | None = None,
    near: Repaired | None = None,
    fitted: Sequence[int] | None = None,
    since: int = 0,
    patience: float = math.inf,
    search: Search = THOROUGH,
    stage: str = "recover",
) -> Repaired:
    """Refit every layer of the cut network whose weight is stored, front to back.

    Args:
        observations: measurements of the dense network.
        cut: which channels are removed.
        tensors: weights of the cut network to start from; default: the dense ones, sliced.
        refitting: with False nothing is refitted, and only the error is measured.
        like: a repair of the same network. With it the held-out batches are fitted as well, with
            the ridge strengths that it found best on them; the error that is returned is then no
            longer that of held-out data.
        near: a repair of another cut, whose strengths are where the search begins.
        fitted: numbers of the batches to fit; default: all of this process but the held-out ones.
        since: number of the first layer to look at; those before it are as they were.
        patience: number of layers in a row that a refit hardly helps, after which the others are as they were.
        search: which strengths of the ridge are tried.
        stage: name of this stage in progress messages.
    """
    module, copies = cut.module, cut.copies
    fitted = observations.fitted if fitted is None else fitted
    judged = observations.some_held_out(search.samples)
    used = sorted({*observations.held_out, *(fitted if refitting else ())})
    run = observations.staged(module, used, tensors, ROOM)
    known, others = ({} if each is None else dict(each.fits) for each in (like, near))
    stored, idle = StoredTensors(module), 0
    fits: list[tuple[Layer, Fit]] = []
    ahead = {copies[e.node] for e in observations.layers if cut.left.computed(e.node)}
    for layer, tie in observations.ties.items() if refitting else ():
        if layer.number < since or idle >= patience:
            ahead -= {copies[each.node] for each in tie}
            continue
        observations.tell(stage, layer.number, len(observations.layers))
        if not all(cut.left.computed(each.node) for each in tie):
            refit_constant(observations, cut, run, layer, used, ahead)
            continue
        run.advance(copies[layer.node])
        channels = [rows for each in tie if (rows := kept_channels(each, cut)) is not None]
        if len(channels) == len(tie) and all(
            stored.is_exclusive(copies[n], layer.calls) for n in layer.places
        ):
            problem = LayerProblem(
                observations, tie, channels[0], run, copies, used, fitted, judged
            )
            if run.reach(problem.needed(), ahead):
                fit = problem.solve(known.get(layer), search.near(others.get(layer)))
                idle = 0 if fit.after < HELPED * fit.before else idle + 1
                fits.append((layer, fit))
        ahead -= {copies[each.node] for each in tie}
    run.narrow([used.index(number) for number in observations.held_out])
    error = observations.error(dict(zip(observations.held_out, run.outputs(), strict=True)))
    return Repaired(run.stored(), error, tuple(fits), cut)
