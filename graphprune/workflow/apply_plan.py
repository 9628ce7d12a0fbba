"""Apply a plan to a model, without scores or data: ``graphprune.apply``, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

import torch

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import OptionError
from graphprune.ir.check_given import given_on_cpu
from graphprune.ir.trace import trace
from graphprune.pipeline import State
from graphprune.plan.plan import Plan
from graphprune.rebuild.model_pair import ModelPair
from graphprune.rebuild.rebuild import rebuild
from graphprune.verify.oracle import verify

from .carry import carry
from .free_channels import free_channels
from .pair_models import pair_models
from .reinitialise import reinitialise

__all__ = ["apply", "apply_plan"]

AnyOptimizer = TypeVar("AnyOptimizer", bound=torch.optim.Optimizer)


@overload
def apply(
    plan: Plan,
    model: torch.nn.Module,
    example_inputs: Sequence[Any] | torch.Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    reinit: bool = False,
) -> torch.nn.Module: ...
@overload
def apply(
    plan: Plan,
    model: torch.nn.Module,
    example_inputs: Sequence[Any] | torch.Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    optimizer: AnyOptimizer,
) -> tuple[torch.nn.Module, AnyOptimizer]: ...
def apply(
    plan: Plan,
    model: torch.nn.Module,
    example_inputs: Sequence[Any] | torch.Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    reinit: bool = False,
) -> Any:
    """Apply a plan to another checkpoint of the architecture it was made for.

    With an earlier checkpoint of the training, this is rewinding.

    Args:
        plan: which channels to keep.
        model: the dense model; it isn't changed.
        example_inputs: as in ``compress``.
        example_kwargs: as in ``compress``.
        optimizer: on the model's parameters, to be carried over as by ``Result.carry``.
        reinit: give the smaller model new weights, by the ``reset_parameters`` of its layers, to be trained from
            scratch.

    Returns:
        The smaller model, as ``Result.model``; with ``optimizer``, it and the optimiser on its parameters.

    Raises:
        MismatchError: if the model is of another architecture.
        VerifyError: if the smaller model doesn't compute what it should.
        OptionError: if the optimiser is of another model, or has a state that can't be sliced; if there is one for
            new weights, or parameters have nothing that would make them anew.
    """
    if reinit and optimizer is not None:
        raise OptionError("an optimizer can't go on with new weights; make a new one")
    pair = apply_plan(plan, model, example_inputs, example_kwargs)
    if reinit:
        reinitialise(pair.small)
    return pair.small if optimizer is None else (pair.small, carry(optimizer, pair))


def apply_plan(
    plan: Plan,
    model: torch.nn.Module,
    args: Sequence[Any] | torch.Tensor,
    kwargs: Mapping[str, Any] | None = None,
) -> ModelPair:
    """Cut a model as a plan says, verify it, and rebuild its class: the smaller model beside the dense one.

    Arguments are those of ``apply``.

    Raises:
        MismatchError: if the model is of another architecture, or channels that the plan removes
            with no loss aren't redundant in it.
        VerifyError: if the smaller model doesn't compute what it should.
    """
    home, dense, inputs, kwargs = given_on_cpu(model, args, kwargs)
    state = State(trace(dense, inputs, kwargs))
    if plan.redundant:
        state = free_channels(state, plan.redundant, allow_inexact=plan.allow_inexact)
    cut = Cut.from_plan(plan, analyse(state.program, allow_inexact=plan.allow_inexact))
    rebuilt = rebuild(dense, cut, cut.program, verify(cut).runs)
    return pair_models(model, dense, rebuilt, cut, state, home)
