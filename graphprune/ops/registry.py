"""The table of operator rules: one entry holds every fact of an operator.

A rule is a function of a ``Call``. It returns the layout of the result (or a list of layouts,
for operators with several results) and states, through the call's methods,

* links: ``tie``, ``contract``, ``statistic``, ``mix``, ``freeze``;
* costs: ``macs``;
* what changes when channels go: ``rewrite``, ``replace`` and ``scale``;
* whether the result is quiet (see ``Facts``).

An operator with no entry freezes every axis it touches. Entries carry samples; the tests walk
the table and turn each sample into a law test, so adding an operator edits no test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from graphprune.errors import InternalError

from .call import Call
from .facts import Result

__all__ = ["RULES", "Rule", "Sample", "find", "rule", "sample"]


class Sample(NamedTuple):
    """One example call of an operator, for the law tests."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    free: bool


def sample(*args: Any, free: bool = True, **kwargs: Any) -> Sample:
    """An example call. ``free=False``: the operator is expected to freeze all it touches."""
    return Sample(args, kwargs, free)


@dataclass(frozen=True)
class Rule:
    """One table entry.

    Attributes:
        apply: the rule.
        samples: example calls.
        quiet: the result is quiet where all operands are.
        wide: computes the same in float64, where the operator itself only takes narrower types.
    """

    apply: Callable[[Call], Result]
    samples: Callable[[], Sequence[Sample]]
    quiet: bool = False
    wide: Callable[..., Any] | None = None


RULES: dict[Any, Rule] = {}


def rule(
    *operators: Any,
    samples: Callable[[], Sequence[Sample]],
    quiet: bool = False,
    wide: Callable[..., Any] | None = None,
) -> Callable[[Callable[[Call], Result]], Callable[[Call], Result]]:
    """Enter a rule into the table for one or several operator overloads.

    Args:
        operators: the overloads; one that another library registers by name,
            ``"library::operator"``, since it exists only once that library has been imported.
        samples: example calls, for the law tests.
        quiet: rows of the result are zero where those of all operands are, as when data is only
            moved. Rules that know better set ``call.facts.quiet``.
        wide: see ``Rule``.
    """

    def enter(function: Callable[[Call], Result]) -> Callable[[Call], Result]:
        for operator in operators:
            if operator in RULES:
                raise InternalError(f"{operator} has two rules")
            RULES[operator] = Rule(function, samples, quiet, wide)
        return function

    return enter


def find(operator: Any) -> Rule | None:
    """The rule of what a node calls."""
    named = isinstance(operator, torch._ops.OpOverload)
    return RULES.get(operator) or (RULES.get(operator.name()) if named else None)
