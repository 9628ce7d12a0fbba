"""Errors and bugs, as a terminal shows them."""

from __future__ import annotations

import pytest

from graphprune.cli import render
from graphprune.errors import VerifyError

Captured = pytest.CaptureFixture[str]


def test_errors_go_to_stderr(capsys: Captured) -> None:
    render.failure(VerifyError("it differs", where="net.py:7", hint="report it"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error[GP007]: it differs (net.py:7)\n  hint: report it\n"
    render.bug(ZeroDivisionError("ours"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == "ZeroDivisionError: ours"
