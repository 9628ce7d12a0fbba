"""Fields of a config, tried alone and together, on responses that are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphprune.rebuild.config_response import Response
from graphprune.rebuild.config_trials import Trials

DENSE = {"inner": 24, "width": 16, "heads": 4}


class Given:
    """Answers like a model whose groups are the inner width and the width of the stream."""

    dense_widths = (24, 16)

    def __init__(self, problem: Callable[[dict[str, float]], str] = lambda _: "") -> None:
        self.problem = problem

    def to(self, changes: Mapping[str, int]) -> Response:
        ratios = {name: value / DENSE[name] for name, value in changes.items()}
        if why := self.problem(ratios):
            return Response({}, {}, why, alone=True)
        widths = {0: ratios.get("inner", 1.0), 1: ratios.get("width", 1.0)}
        head = ratios.get("width", 1.0) / ratios.get("heads", 1.0)
        numbers = {} if head == 1 else {(3, 0): head**-0.5}
        return Response({n: r for n, r in widths.items() if r != 1}, numbers)


def trials(given: Given, computed: Mapping[int, str] | None = None, tell: Any = str) -> Trials:
    return Trials(given, DENSE, computed or {}, tell)  # type: ignore[arg-type]


def test_fields_alone_and_those_whose_numbers_cancel_out() -> None:
    told: list[str] = []
    found = trials(Given(), tell=told.append).settings()
    assert [(dict(s.fields), s.groups, s.parts) for s in found] == [
        ({"inner": 24}, (0,), 24),
        ({"width": 16, "heads": 4}, (1,), 4),
    ]
    assert told[:3] == [f"config field {n} of 3" for n in (1, 2, 3)]


def test_fields_that_fail_alone_are_tried_in_pairs() -> None:
    def alike(ratios: dict[str, float]) -> str:
        one, other = ratios.get("width", 1), ratios.get("heads", 1)
        return "" if one == other else "the width of a head would change"

    found = trials(Given(alike)).settings()
    assert [set(s.fields) for s in found] == [{"inner"}, {"width", "heads"}]


def test_what_stands_against_a_group_is_told() -> None:
    computed = trials(Given(), {0: "table"})
    assert [s.groups for s in computed.settings()] == [(1,)]
    assert computed.why(0) == "the code computes table from the config"
    never = trials(Given(lambda _: "it can't be"))
    assert never.settings() == ()
    assert "inner: it can't be" in never.why(0)
    assert "changes a number in the code too" in trials(Given()).why(1)
