"""What stays until a command ends isn't searched for garbage; everything else is, as ever."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Generator
from types import ModuleType

import pytest

from graphprune.cli.garbage import importing


@pytest.fixture(autouse=True)
def _as_before() -> Generator[None]:
    gc.unfreeze()  # what commands of other tests froze
    yield
    gc.unfreeze()
    gc.enable()


class Cycle:
    def __init__(self) -> None:
        self.own = self


def test_nothing_is_searched_while_modules_are_imported() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_searching_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_a_process_that_searches_for_no_garbage_still_does_not() -> None:
    gc.disable()
    with importing():
        pass
    assert not gc.isenabled()


def test_only_the_first_imports_are_left_out_of_later_searches() -> None:
    with importing():
        pass
    frozen = gc.get_freeze_count()
    assert frozen
    later = [Cycle() for _ in range(1000)]
    with importing():
        pass
    assert gc.get_freeze_count() < frozen + len(later)


def test_garbage_that_is_made_later_is_found() -> None:
    with importing():
        pass
    made = Cycle()
    seen = weakref.ref(made)
    del made
    gc.collect()
    assert seen() is None


def left_out_at_the_end(first: str, arguments: list[str]) -> str:
    """Run code, then a command; tell whether most objects were left out of the last search."""
    code = (
        "import atexit, gc, sys, types\n"
        "atexit.register(lambda: print('left out:', gc.get_freeze_count() > 1000, file=sys.stderr))\n"
        f"{first}\n"
        "from graphprune.cli.__main__ import main\n"
        f"main({arguments!r})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--version"], ["passes"], ["compress", "no.pt"]])
def test_a_command_ends_without_a_last_search(arguments: list[str]) -> None:
    assert left_out_at_the_end("", arguments) == "left out: True"


@pytest.mark.parametrize("arguments", [["--version"], ["passes"], ["compress", "no.pt"]])
def test_a_package_that_reports_what_is_left_finds_nothing(arguments: list[str]) -> None:
    loaded = "sys.modules['triton'] = types.ModuleType('triton')"
    assert left_out_at_the_end(loaded, arguments) == "left out: False"


def test_imports_that_bring_such_a_package_are_searched_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with importing():
        monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    assert not gc.get_freeze_count()
