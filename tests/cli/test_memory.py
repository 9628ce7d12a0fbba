"""Freed memory is kept for what comes next."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from graphprune.cli.memory import keep_freed_memory

told = keep_freed_memory() if sys.argv[1] == "keep" else None
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b"x" * 2**25
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str, **environment: str) -> tuple[str, int]:
    """What the process says, and how many pages it had to ask for in 20 strings of 32 MiB."""
    plain = {n: v for n, v in os.environ.items() if not n.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS, way]
    found = subprocess.run(
        command, check=True, capture_output=True, text=True, env=plain | environment
    )
    told, count = found.stdout.split()
    return told, int(count)


def test_pages_are_asked_for_once() -> None:
    told, kept = faults("keep")
    if told != "True":
        pytest.skip("only glibc can be told")
    assert kept < faults("leave")[1] / 3


def test_what_the_user_set_stays() -> None:
    assert faults("keep", MALLOC_ARENA_MAX="2")[0] == "False"
