"""The table of operator rules, with one entry for all facts of an operator.

A rule is a function of a ``Call``. It returns the layout of the result (or a list of layouts,
for operators with several results) and states, through the call's methods,

* links: ``tie``, ``contract``, ``statistic``, ``mix``, ``freeze``;
* costs: ``macs``;
* what changes when channels go: ``rewrite``, ``replace`` and ``scale``;
* whether the result is *quiet*: zero rows of parameters give zero rows of it.

Whatever else is known of an operator is a *trait* (``traits.py``), stated beside its rule.

An operator with no entry freezes every axis it touches. Entries carry samples; the tests walk
the table and turn each sample into a law test, so adding an operator edits no test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import fx

from graphprune.errors import InternalError
from graphprune.ir.nodes import bind
from graphprune.ir.private_torch import OpOverload

from .call import Call
from .facts import Result
from .traits import Form, Traits

__all__ = [
    "RULES",
    "Rule",
    "Sample",
    "find",
    "flat_limits",
    "form_of",
    "is_identity",
    "passes_value_on",
    "rule",
    "sample",
    "state_traits",
    "traits_of",
]


_NO_TRAITS = Traits()


class Sample(NamedTuple):
    """An example call of an operator, for the tests of its rule's laws."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    free: bool


def sample(*args: Any, free: bool = True, **kwargs: Any) -> Sample:
    """Make an example call.

    Args:
        args: positional arguments of the operator.
        free: whether some axis can be cut; if not, the operator is expected to freeze all it touches.
        kwargs: keyword arguments of the operator.
    """
    return Sample(args, kwargs, free)


@dataclass(frozen=True)
class Rule:
    """One entry of the table: an operator's rule, example calls and traits.

    Attributes:
        apply: the rule.
        samples: example calls.
        quiet: whether rows of the result are zero where those of all operands are.
        in_float64: a function that computes the same in float64, for operators that only take
            narrower dtypes.
        traits: what else is known of it.
    """

    apply: Callable[[Call], Result]
    samples: Callable[[], Sequence[Sample]]
    quiet: bool = False
    in_float64: Callable[..., Any] | None = None
    traits: Traits = _NO_TRAITS


RULES: dict[Any, Rule] = {}

AnyRule = TypeVar("AnyRule", bound=Callable[[Call], Result])


def rule(
    *operators: Any,
    samples: Callable[[], Sequence[Sample]],
    quiet: bool = False,
    in_float64: Callable[..., Any] | None = None,
) -> Callable[[AnyRule], AnyRule]:
    """Enter a rule into the table for one or several operator overloads.

    Args:
        operators: the overloads; one that another library registers by name,
            ``"library::operator"``, since it exists only once that library has been imported.
        samples: example calls, for the law tests.
        quiet: whether rows of the result are zero where those of all operands are, as when data is only
            moved. Rules that know better state ``call.loud``.
        in_float64: see ``Rule``.
    """

    def enter(function: AnyRule) -> AnyRule:
        for operator in operators:
            if operator in RULES:
                raise InternalError(f"{operator} has two rules")
            RULES[operator] = Rule(function, samples, quiet, in_float64)
        return function

    return enter


def state_traits(*operators: Any, **traits: Any) -> None:
    """State traits of operators that have a rule; ``traits.Traits`` lists them."""
    for operator in operators:
        if operator not in RULES:
            raise InternalError(f"{operator} has no rule, so it can't have traits")
        entry = RULES[operator]
        RULES[operator] = replace(entry, traits=replace(entry.traits, **traits))


def find(operator: Any) -> Rule | None:
    """Look up the rule of an operator; ``None`` if there is none."""
    named = isinstance(operator, OpOverload)
    return RULES.get(operator) or (RULES.get(operator.name()) if named else None)


def traits_of(node: fx.Node) -> Traits:
    """Look up the traits of the operator that a node calls; those of no rule are empty."""
    entry = find(node.target) if node.op == "call_function" else None
    return _NO_TRAITS if entry is None else entry.traits


def form_of(node: fx.Node) -> Form | None:
    """Look up how the operator of a call names its weight and other operands; ``None`` without weight.

    The weight of a linear layer may be a vector; it has no axis of outputs then, and isn't counted as one.
    """
    form = traits_of(node).form
    if form is not None and form.kind == "linear" and _is_vector(bind(node)[form.weight]):
        return None
    return form


def _is_vector(operand: fx.Node) -> bool:
    value = operand.meta.get("val")
    return isinstance(value, torch.Tensor) and value.ndim == 1


def flat_limits(node: fx.Node) -> tuple[float, float] | None:
    """Return the limits outside of which a call's result is constant: ``(0, inf)`` for a ReLU.

    ``None`` for operators that aren't flat anywhere, and for limits that aren't numbers.
    """
    flat = traits_of(node).flat
    if flat is None:
        return None
    call = bind(node)
    lower, upper = (
        call[limit] if isinstance(limit, str) else limit for limit in (flat.lower, flat.upper)
    )
    lower, upper = -math.inf if lower is None else lower, math.inf if upper is None else upper
    if not isinstance(lower, int | float) or not isinstance(upper, int | float):
        return None
    known = lower < upper and (lower > -math.inf or upper < math.inf)
    return (float(lower), float(upper)) if known else None


def passes_value_on(node: fx.Node) -> bool:
    """Whether a call hands its first operand on, at most cast to another dtype or moved in memory."""
    traits = traits_of(node)
    return traits.identity and not (traits.unless and bind(node)[traits.unless])


def is_identity(node: fx.Node) -> bool:
    """Whether a call hands its first operand on and loses no precision by it."""
    return passes_value_on(node) and _keeps_precision(
        node.all_input_nodes[0].meta.get("val"), node.meta.get("val")
    )


def _keeps_precision(before: Any, after: Any) -> bool:
    if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor):
        return False
    return torch.promote_types(before.dtype, after.dtype) == after.dtype and (
        before.is_floating_point() == after.is_floating_point()
    )
