"""``graphprune passes``: the list of passes is that of the package."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from graphprune.cli.passes import FORMAT
from graphprune.passes import ALL_PASSES
from tests.cli.conftest import Ran


def test_every_pass_is_a_row_of_the_table(cli: Callable[..., Ran]) -> None:
    shown = cli("passes")
    assert (shown.code, shown.err) == (0, "")
    head, *rows = shown.out.rstrip().splitlines()
    assert head.split() == ["pass", "options", "needs", "->", "gives", "what", "it", "does"]
    assert [row.split()[0] for row in rows] == list(ALL_PASSES)
    (allocate,) = (row for row in rows if row.startswith("allocate "))
    assert "budget, method='dp', round_to=1" in allocate  # an option without a default, and with
    assert "Analysis, Scores -> Decision" in allocate


@pytest.mark.parametrize("name", ALL_PASSES)
def test_json_describes_a_pass(cli: Callable[..., Ran], name: str) -> None:
    document = json.loads(cli("passes", "--json").out)
    assert document["format"] == FORMAT
    (found,) = (each for each in document["passes"] if each["name"] == name)
    kind = ALL_PASSES[name]
    assert found["needs"] == [fact.__name__ for fact in kind.needs]
    assert found["gives"] == [fact.__name__ for fact in kind.gives]
    assert all(hasattr(kind, option) or value is None for option, value in found["options"].items())
    assert len(found["summary"].split()) > 3
