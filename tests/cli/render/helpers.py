"""What the tests of printed tables share."""

from __future__ import annotations

import pytest


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What stands on stdout, with single spaces."""
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
