"""Derive the sizes of an unknown function's results from runs that were observed.

Nothing is known of the function but what it gave for some inputs. A size of a result is a number, a size of an
input, or a multiple of one plus a number, if all runs say so; or it depends on values, if runs on
inputs of the same sizes differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphprune.errors import LoadError

__all__ = ["ObservedRun", "result_sizes"]

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ObservedRun:
    """The sizes that one run had.

    Attributes:
        inputs: sizes of each input.
        outputs: sizes of each output.
        macs: multiply-accumulates that it made.
    """

    inputs: Shapes
    outputs: Shapes
    macs: int = 0


def result_sizes(
    name: str,
    runs: Sequence[ObservedRun],
    given: Sequence[Sequence[Any]],
    unknown: Callable[[], Any],
) -> list[list[Any]]:
    """Derive the sizes of all results for inputs of given sizes.

    Args:
        name: of the function, for the message.
        runs: what was observed.
        given: sizes of each input, whole numbers or symbols.
        unknown: makes a symbol for a size that depends on values.

    Returns:
        The sizes of each result, in terms of those given.

    Raises:
        LoadError: if the runs don't tell.
    """
    alike = [run for run in runs if _fits(run.inputs, given)]
    if not alike or any(len({*ranks}) > 1 for ranks in zip(*map(_ranks, alike), strict=True)):
        raise _untold(name)
    open_ = list(_open(given))
    if any(len({run.inputs[i][axis] for run in alike}) < 2 for i, axis in open_):
        raise _untold(name)
    found: list[list[Any]] = []
    for number, sizes in enumerate(alike[0].outputs):
        found.append([])
        for axis in range(len(sizes)):
            told = _told(alike, number, axis, open_, given)
            if told is None and not _depends_on_values(alike, number, axis):
                raise _untold(name)
            found[-1].append(unknown() if told is None else told)
    return found


def _untold(name: str) -> LoadError:
    return LoadError(
        f"{name}: the sizes of its results follow no rule that trial runs show",
        hint="write the file with fixed sizes of its inputs",
    )


def _fits(sizes: Shapes, given: Sequence[Sequence[Any]]) -> bool:
    """Whether a run had the sizes that are given, as far as these are numbers."""
    pairs = list(zip(sizes, given, strict=False))
    return len(sizes) == len(given) and all(
        len(own) == len(each)
        and all(not isinstance(n, int) or n == m for m, n in zip(own, each, strict=True))
        for own, each in pairs
    )


def _ranks(run: ObservedRun) -> tuple[int, ...]:
    return tuple(map(len, run.outputs))


def _open(given: Sequence[Sequence[Any]]) -> Iterator[tuple[int, int]]:
    """List the places of the sizes that are symbols."""
    for number, sizes in enumerate(given):
        for axis, size in enumerate(sizes):
            if not isinstance(size, int):
                yield number, axis


def _depends_on_values(runs: Sequence[ObservedRun], number: int, axis: int) -> bool:
    sizes: dict[Shapes, set[int]] = {}
    for run in runs:
        sizes.setdefault(run.inputs, set()).add(run.outputs[number][axis])
    return any(len(each) > 1 for each in sizes.values())


def _told(
    runs: Sequence[ObservedRun],
    number: int,
    axis: int,
    open_: Sequence[tuple[int, int]],
    given: Sequence[Sequence[Any]],
) -> Any:
    """Tell one size; ``None`` if no rule holds in all runs."""
    made = [run.outputs[number][axis] for run in runs]
    if len({*made}) == 1:
        return made[0]
    # The same place first: where two inputs have the same sizes, either would do.
    for i, place in sorted(open_, key=lambda each: each[1] != axis):
        had = [run.inputs[i][place] for run in runs]
        if had == made:
            return given[i][place]
    for i, place in open_:
        points = sorted({*zip((run.inputs[i][place] for run in runs), made, strict=True)})
        if line := _line(points):
            return given[i][place] * line[0] + line[1]
    return None


def _line(points: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Find the whole slope and offset of a line through at least three points."""
    if len({x for x, _ in points}) != len(points) or len(points) < 3:
        return None
    (x0, y0), (x1, y1), *_ = points
    slope, rest = divmod(y1 - y0, x1 - x0)
    offset = y0 - slope * x0
    on = not rest and all(y == slope * x + offset for x, y in points)
    return (slope, offset) if on else None
