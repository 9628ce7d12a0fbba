"""Put the rebuilt smaller model beside the dense one that it was cut from, on the device that this came from."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram

from graphprune.cut.cut import Cut
from graphprune.ir.run_on_device import put_model
from graphprune.passes import Redundant
from graphprune.pipeline import State
from graphprune.rebuild.model_pair import ModelPair
from graphprune.rebuild.rebuild import Rebuilt

__all__ = ["pair_models"]


def pair_models(
    given: torch.nn.Module | ExportedProgram,
    dense: torch.nn.Module | ExportedProgram,
    rebuilt: Rebuilt,
    cut: Cut,
    state: State,
    home: torch.device,
) -> ModelPair:
    """Pair a dense model with the smaller one.

    Args:
        given: the dense model as the user gave it.
        dense: the same without what wraps it for training, on the CPU.
        rebuilt: the smaller model, which is moved to ``home``.
        cut: what leads from the one to the other.
        state: of the run; channels that went with no loss may have changed weights before the cut.
        home: the device of ``given``.
    """
    small = put_model(rebuilt.model, home)
    redundant = state.get(Redundant)
    reweighted = redundant is not None and redundant.reweighted
    return ModelPair(given, dense, small, rebuilt.own_class, cut, rebuilt.follow, reweighted)
