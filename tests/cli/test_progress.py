"""Progress and logs: on stderr, whatever happens."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

import pytest

from graphprune.cli.progress import working
from tests import nets
from tests.cli.conftest import Ran


def test_user_code_cannot_print_into_the_result(
    cli: Callable[..., Ran], small: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loud() -> nets.Net:
        print("hello from the factory")
        return nets.NETS["OptionAShortcut"]()

    monkeypatch.setattr(nets, "loud", loud, raising=False)
    found = cli("inspect", small[0], "--arch", "tests.nets:loud", "--input", "1x3x8x8", "--json")
    assert found.err == "hello from the factory\n"
    assert json.loads(found.out)["format"] == "graphprune.inspect/1"


def test_verbose_names_every_stage_with_its_time(
    cli: Callable[..., Ran], small: Sequence[str]
) -> None:
    found = cli("inspect", *small, "-v")
    stages = [line.split() for line in found.err.splitlines()]
    assert [stage[2:] for stage in stages] == [["trace"], ["analyse"]]
    assert all(stage[0].isdecimal() and stage[1] == "ms" for stage in stages)
    assert found.out == cli("inspect", *small).out


def test_without_a_terminal_nothing_is_said(cli: Callable[..., Ran], small: Sequence[str]) -> None:
    assert cli("inspect", *small).err == cli("inspect", *small, "-q").err == ""


def test_logging_is_as_it_was_afterwards() -> None:
    before = logging.getLogger("graphprune").level, list(logging.getLogger("graphprune").handlers)
    with working(verbose=2, quiet=False, stages=1) as progress:
        assert logging.getLogger("graphprune").level == logging.DEBUG
        progress("trace")
    after = logging.getLogger("graphprune").level, logging.getLogger("graphprune").handlers
    assert after == before
