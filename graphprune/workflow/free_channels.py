"""Free a traced program of channels that go with no loss, before anything else is decided."""

from __future__ import annotations

from collections.abc import Mapping

from graphprune.passes import Analyse, Lossless
from graphprune.pipeline import Pipeline, State

__all__ = ["free_channels"]


def free_channels(
    state: State,
    wanted: Mapping[str, tuple[int, ...]] | None = None,
    *,
    strict_ops: bool = False,
    allow_inexact: bool = False,
) -> State:
    """Replace the program by one in which nothing reads redundant channels, and say which they are.

    Args:
        state: the dense program.
        wanted: the channels that a plan wants freed; by default all that are found.
        strict_ops: as in ``graphprune.compress``.
        allow_inexact: as in ``graphprune.compress``.

    Raises:
        MismatchError: if the plan's channels aren't redundant in these weights.
        VerifyError: if the program then computes something else.
    """
    analyse = Analyse(strict_ops=strict_ops, allow_inexact=allow_inexact)
    return Pipeline((analyse, Lossless(wanted=wanted)), given=tuple(state.facts)).run(state)
