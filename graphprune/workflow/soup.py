"""Average networks that were cut by one plan and trained in several ways."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from graphprune.errors import MismatchError, OptionError
from graphprune.ir.private_torch import BatchNorm
from graphprune.ir.unwrap import unwrap
from graphprune.loading import check_finite

from .result import Result

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["soup"]


def soup(
    members: Sequence[nn.Module | Result],
    *,
    calibration: Iterable[Any] | None = None,
    judge: Callable[[nn.Module], float] | None = None,
) -> nn.Module:
    """Average the weights of networks that were cut by one plan.

    This pays for networks that began from the same weights and were trained in several ways (Wortsman et al. 2022,
    Model Soups, arXiv:2203.05482; Zimmer et al. 2023, Sparse Model Soups, arXiv:2306.16788).

    Args:
        members: modules of one class, or results, whose plans are compared too.
        calibration: batches of inputs, on which BatchNorm statistics are estimated anew: each is a tensor, a
            sequence of positional inputs or a mapping of keyword inputs. Without it, statistics are averaged.
        judge: says how good a network is, higher is better. With it, members are added one by one, the best
            first, as long as the average isn't worse for it.

    Returns:
        A new module in evaluation mode; the members aren't changed.

    Raises:
        OptionError: if there are no members.
        MismatchError: if one is of another plan or class, or has weights of other names or shapes.
        LoadError: if weights are NaN or infinite.
    """
    if not members:
        raise OptionError("a soup needs at least one network")
    models = [unwrap(each.model if isinstance(each, Result) else each) for each in members]
    _check(members, models)
    batches = None if calibration is None else list(calibration)
    if judge is None:
        return _average(models, batches)
    ranked = sorted(models, key=judge, reverse=True)
    chosen, best = ranked[:1], judge(ranked[0])
    for model in ranked[1:]:
        score = judge(_average([*chosen, model], batches))
        if score >= best:
            chosen, best = [*chosen, model], score
    return _average(chosen, batches) if len(chosen) > 1 else copy.deepcopy(chosen[0]).eval()


def _check(members: Sequence[nn.Module | Result], models: Sequence[nn.Module]) -> None:
    """Refuse members of other plans or architectures."""
    plans = [each.plan for each in members if isinstance(each, Result)]
    for plan in plans[1:]:
        if (plan.fingerprint, plan.keep) != (plans[0].fingerprint, plans[0].keep):
            raise MismatchError(
                "the members keep other channels",
                hint="cut all of them by one plan: apply(plan, model, inputs)",
            )
    first = models[0]
    for number, model in enumerate(models):
        check_finite(model.named_parameters(), model.named_buffers(), f"member {number}")
        if _kind(model) != _kind(first):
            raise MismatchError(
                f"member {number} is a {type(model).__name__}, or another graph, the first a "
                f"{type(first).__name__}"
            )
        shapes, wanted = _shapes(model), _shapes(first)
        if wrong := sorted(
            name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name)
        ):
            raise MismatchError(
                f"member {number} has another {wrong[0]}: {shapes.get(wrong[0])}, "
                f"the first {wanted.get(wrong[0])}",
                hint="cut all of them by one plan: apply(plan, model, inputs)",
            )


def _kind(model: nn.Module) -> Any:
    """What has to be the same: the class, or the code of a graph, whose class is its own."""
    return model.code if isinstance(model, fx.GraphModule) else type(model)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@torch.no_grad()
def _average(models: Sequence[nn.Module], batches: Sequence[Any] | None) -> nn.Module:
    """Average networks, in float64; numbers that aren't continuous are the first one's."""
    mixed = copy.deepcopy(models[0]).eval()
    states: list[Mapping[str, Tensor]] = [model.state_dict() for model in models]
    for name, value in mixed.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.stack([state[name].double() for state in states]).mean(0))
    if batches:
        with _estimating(mixed):
            for batch in batches:
                _call(mixed, batch)
    return mixed


def _call(model: nn.Module, batch: Any) -> Any:
    match batch:
        case Tensor():
            return model(batch)
        case Mapping():
            return model(**batch)
        case _:
            return model(*batch)


@contextmanager
def _estimating(model: nn.Module) -> Generator[None]:
    """Have the BatchNorms of a model, and nothing else, take the plain average of their statistics."""
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, BatchNorm) and layer.track_running_stats
    ]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
