"""Average networks that were cut by one plan and trained in several ways."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.errors import MismatchError, OptionError
from graphprune.ir.nodes import is_continuous
from graphprune.ir.unwrap import unwrap
from graphprune.loading import check_finite
from graphprune.ops.float64 import to_float64

from .batchnorm_statistics import Arguments, estimate_batchnorm
from .result import Result

__all__ = ["Soup", "soup", "stir"]


@dataclass(frozen=True, eq=False)
class Soup:
    """An average of networks, and how it came about.

    Attributes:
        model: the average, in evaluation mode.
        used: numbers of the members in it, in the order in which they were added.
        scores: how good each member is, if that was asked for.
        score: how good the average is, likewise.
        estimated: how many BatchNorms have new statistics.
    """

    model: nn.Module
    used: tuple[int, ...]
    scores: tuple[float, ...] = ()
    score: float | None = None
    estimated: int = 0


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
        OptionError: if there are no members, or no batch is in ``calibration``.
        MismatchError: if one is of another plan or class, or has weights of other names or shapes.
        LoadError: if weights are NaN or infinite.
    """
    batches = None if calibration is None else [_arguments(batch) for batch in calibration]
    return stir(members, batches=batches, judge=judge, greedy=judge is not None).model


def stir(
    members: Sequence[nn.Module | Result],
    *,
    batches: Sequence[Arguments] | None = None,
    judge: Callable[[nn.Module], float] | None = None,
    greedy: bool = False,
) -> Soup:
    """Average networks as ``soup`` does, and tell what went in. Errors: as there.

    Args:
        members: modules or results.
        batches: for BatchNorm.
        judge: says how good a network is.
        greedy: leave out members that make the average worse for the judge.
    """
    if not members:
        raise OptionError("a soup needs at least one network")
    models = [unwrap(each.model if isinstance(each, Result) else each) for each in members]
    _check(members, models)
    everyone = tuple(range(len(models)))
    if judge is None:
        mixed, estimated = _average(models, batches)
        return Soup(mixed, everyone, estimated=estimated)
    scores = tuple(judge(model) for model in models)
    if not greedy:
        mixed, estimated = _average(models, batches)
        return Soup(mixed, everyone, scores, judge(mixed), estimated)
    first, *others = sorted(everyone, key=lambda number: scores[number], reverse=True)
    best = Soup(copy.deepcopy(models[first]).eval(), (first,), scores, scores[first])
    for number in others:
        used = (*best.used, number)
        mixed, estimated = _average([models[each] for each in used], batches)
        score = judge(mixed)
        if best.score is not None and score >= best.score:
            best = Soup(mixed, used, scores, score, estimated)
    return best


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
    return {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)  # a module's extra state has no shape
    }


@torch.no_grad()
def _average(
    models: Sequence[nn.Module], batches: Sequence[Arguments] | None
) -> tuple[nn.Module, int]:
    """Average networks, in float64; numbers that aren't continuous are the first one's.

    Returns:
        The average, and how many BatchNorms have new statistics.
    """
    mixed = copy.deepcopy(models[0]).eval()
    states: list[Mapping[str, Any]] = [model.state_dict() for model in models]
    for name, value in mixed.state_dict().items():
        if isinstance(value, Tensor) and is_continuous(value):
            value.copy_(torch.stack([to_float64(state[name]) for state in states]).mean(0))
    return mixed, 0 if batches is None else estimate_batchnorm(mixed, batches)


def _arguments(batch: Any) -> Arguments:
    match batch:
        case Tensor():
            return (batch,), {}
        case Mapping():
            return (), batch
        case _:
            return batch, {}
