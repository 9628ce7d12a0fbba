"""Cut a network in place, while it is trained: its layers shrink, and the optimiser goes on with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.private_torch import own_buffers, own_parameters
from graphprune.ir.trace import trace
from graphprune.ir.unwrap import unwrap, wrappers
from graphprune.plan.plan import Plan
from graphprune.rebuild.absorb_scales import absorb_scales
from graphprune.rebuild.carry_optimizer import carry_optimizer
from graphprune.rebuild.follow_sizes import follow_sizes
from graphprune.rebuild.narrow_attention import NarrowAttention, narrow
from graphprune.workflow.apply_plan import apply_plan

__all__ = ["shrink_in_place"]

_FOLLOWS = ("OptimizedModule",)
"""Wrappers that see new parameters in the module that they hold."""


def shrink_in_place(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
) -> Cut | str:
    """Cut a model as a plan says, with all proofs, and put the smaller layers in the places of its own.

    Modules stay the objects that they are; their parameters become new ones. The optimiser's groups hold these
    afterwards, with the states sliced.

    Args:
        model: what is trained; ``torch.compile`` may have wrapped it.
        optimizer: on its parameters.
        plan: for the model as it is.
        args: example inputs.
        kwargs: example keyword inputs.

    Returns:
        The cut; or a reason why the model can't shrink in place, and nothing was changed.

    Raises:
        VerifyError: if the smaller model doesn't compute what it should.
        OptionError: if the optimiser has a state that can't be sliced.
    """
    if others := [name for name in wrappers(model) if name not in _FOLLOWS]:
        return f"{others[0]} holds the parameters that it was made with"
    dense = unwrap(model)
    pair = apply_plan(plan, dense, args, kwargs)
    if not pair.own_class:
        return f"the code of {type(dense).__name__} doesn't follow these widths"
    if pair.cut.baked or absorb_scales(pair.cut).rows:
        return "kept weights would take over factors of removed ones"
    left = analyse(trace(pair.small, args, kwargs), allow_inexact=plan.allow_inexact)
    if {g.id: g.width for g in left.groups} != {g.id: len(g.keep) for g in plan.groups}:
        return "channels are coupled in another way at these widths"
    carried = carry_optimizer(optimizer, pair)
    _adopt(dense, pair.small)
    if pair.follow is not None:  # numbers in lists and in objects, such as a config
        follow_sizes(dense, pair.follow.edits)
    for group, new in zip(optimizer.param_groups, carried.param_groups, strict=True):
        group.update(new)
    optimizer.state.clear()
    optimizer.state.update(carried.state)
    return pair.cut


def _adopt(model: nn.Module, small: nn.Module) -> None:
    """Give each module the tensors and sizes of the one in the same place."""
    for path, module in model.named_modules():
        other = small.get_submodule(path)
        parameters, buffers = own_parameters(module), own_buffers(module)
        parameters.update({name: own_parameters(other)[name] for name in parameters})
        buffers.update({name: own_buffers(other)[name] for name in buffers})
        for name, value in vars(other).items():
            if _is_size(value) or isinstance(value, Tensor):
                vars(module)[name] = value
        if isinstance(other, NarrowAttention):
            narrow(module)


def _is_size(value: Any) -> bool:
    """Whether an attribute is a number or a tuple of such, which a cut may change."""
    if isinstance(value, tuple):
        return all(map(_is_size, value))
    return isinstance(value, int | float) and not isinstance(value, bool)
