"""What follows from a change of a config, against what the stand-in's code says."""

from __future__ import annotations

from math import sqrt

import pytest

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.rebuild.config_response import Responses
from graphprune.rebuild.configured import Configured
from tests.configured_nets import Config, Net, make, tokens


def responses(net: Net) -> tuple[Responses, Analysis]:
    program = trace(net, tokens())
    analysis = analyse(program)
    return Responses(Configured.of(net), analysis, program), analysis


@pytest.fixture(scope="module")
def known() -> tuple[Responses, Analysis]:
    return responses(make(inner=24))


@pytest.mark.parametrize(
    ("changes", "ratios", "number"),
    [
        ({}, {}, None),
        ({"pad": 7}, {}, None),
        ({"inner": 48}, {24: 2.0}, None),
        ({"inner": 8}, {24: 1 / 3}, None),
        ({"heads": 2}, {4: {0.5, 2.0}}, sqrt(1 / 2)),
        ({"width": 32}, {16: 2.0, 4: {2.0}}, sqrt(1 / 2)),
        ({"width": 32, "heads": 8}, {16: 2.0, 4: {2.0}}, None),
    ],
)
def test_widths_and_numbers_follow(
    known: tuple[Responses, Analysis],
    changes: dict[str, int],
    ratios: dict[int, object],
    number: float | None,
) -> None:
    response = known[0].to(changes)
    assert response.problem == ""
    by_width: dict[int, set[float]] = {}
    for group, ratio in response.widths.items():
        by_width.setdefault(known[1].groups[group].width, set()).add(ratio)
    assert by_width == {w: r if isinstance(r, set) else {r} for w, r in ratios.items()}
    assert list(response.numbers.values()) == (
        [] if number is None else [pytest.approx(number)] * 2
    )


@pytest.mark.parametrize(
    ("changes", "problem", "alone"),
    [
        ({"words": 40}, "axis 0 of embed.weight from 20 to 40", False),
        ({"classes": 6}, "axis 0 of classify.weight from 3 to 6", False),
        ({"depth": 4}, "adds or removes parameters", True),
        ({"heads": 3}, "heads must divide width", True),
    ],
)
def test_other_changes_are_named(
    known: tuple[Responses, Analysis], changes: dict[str, int], problem: str, *, alone: bool
) -> None:
    response = known[0].to(changes)
    assert problem in response.problem
    assert response.alone is alone
    assert not response.widths


class _Forgetful(Net):
    """Built with another width than its config says."""

    def __init__(self, config: Config) -> None:
        super().__init__(Config(**{**config.to_dict(), "width": 8}))
        self.config = config


def test_a_config_that_builds_something_else() -> None:
    net = make()
    program = trace(net, tokens())
    odd = Configured(net, {**Configured.of(net).values, "inner": 5})
    with pytest.raises(OptionError, match="can't be built again from its config"):
        Responses(odd, analyse(program), program)
    odd = Configured(net, {**Configured.of(net).values, "heads": 5})
    with pytest.raises(OptionError, match="heads must divide width"):
        Responses(odd, analyse(program), program)
    assert responses(make(_Forgetful))[0].to({"width": 32}).widths == {}
