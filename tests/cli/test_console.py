"""Tables and lines where nobody sees a terminal's edge."""

from __future__ import annotations

import pytest

from graphprune.cli.console import console, line, table

Captured = pytest.CaptureFixture[str]


def test_columns_stand_in_line(capsys: Captured) -> None:
    table(console(), ["group", "width"], [["stem", "8"], ["a", "128"]], right=(1,))
    assert capsys.readouterr().out == "group  width\nstem       8\na        128\n\n"


def test_without_titles_there_is_no_head(capsys: Captured) -> None:
    table(console(), ["", ""], [["model", "Net"]], right=())
    assert capsys.readouterr().out == "model  Net\n\n"


def test_nothing_is_wrapped_and_markup_is_text(capsys: Captured) -> None:
    long = "[bold]" + "x" * 500 + "[/bold]"
    table(console(), ["a"], [[long]], right=())
    line(console(to_stderr=True), "note: ", long)
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1] == long
    assert captured.err == f"note: {long}\n"


def test_what_could_move_the_cursor_is_spelt_out(capsys: Captured) -> None:
    table(console(), ["na\x1bme"], [["a\x1b[2J"]], right=())
    line(console(), "", "b\u202e")
    assert capsys.readouterr().out == "na\\x1bme\na\\x1b[2J\n\nb\\u202e\n"
