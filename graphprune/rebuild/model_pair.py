"""A model beside the smaller one that was cut from it: which parameter takes the place of which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn
from torch.export import ExportedProgram

from graphprune.cut.baked_weights import baked_sources
from graphprune.cut.cut import Cut

from .shrink_module import Following

__all__ = ["ModelPair"]


@dataclass(frozen=True, eq=False)
class ModelPair:
    """A dense model, the smaller one, and the cut that leads from the one to the other.

    Attributes:
        given: what the user gave; optimisers hold its parameters.
        dense: the same without what wraps it for training.
        small: the smaller model.
        own_class: whether that is of the class of ``dense``, else a GraphModule.
        cut: what was removed.
        follow: what of the class's attributes followed the cut.
        reweighted: kept weights took over what removed channels did, in these weights.
    """

    given: nn.Module | ExportedProgram
    dense: nn.Module | ExportedProgram
    small: nn.Module
    own_class: bool
    cut: Cut
    follow: Following | None = None
    reweighted: bool = False

    @cached_property
    def names(self) -> Mapping[int, tuple[str, ...]]:
        """All names of each dense parameter, by its ``id``; a shared one has several."""
        names: dict[int, tuple[str, ...]] = {}
        for name, parameter in zip(
            _parameters(self.dense), _parameters(self.given).values(), strict=True
        ):
            names[id(parameter)] = (*names.get(id(parameter), ()), name)
        return names

    @cached_property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The parameters of the smaller model by name, shared ones under each of theirs."""
        return _parameters(self.small)

    @cached_property
    def stored(self) -> Mapping[str, tuple[str, ...]]:
        """For each dense parameter's name the parameters that store what was computed from it."""
        stored: dict[str, tuple[str, ...]] = {}
        for node, name in self.cut.baked.items():
            for source in baked_sources(self.cut.analysis, [node]):
                if name in self.parameters:
                    stored[source] = (*stored.get(source, ()), name)
        return stored

    def sliced(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Slice a tensor in the shape of a dense parameter as that is sliced; a copy in any case."""
        known = {name: tensor} if name in self.cut.analysis.axes else {}
        return self.cut.sliced(known).get(name, tensor).detach().clone()


def _parameters(model: nn.Module | ExportedProgram) -> dict[str, nn.Parameter]:
    if isinstance(model, ExportedProgram):
        return dict(model.named_parameters())
    return dict(model.named_parameters(remove_duplicate=False))
