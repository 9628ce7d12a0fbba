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


RESIDENT = """
import os
from graphprune.cli.memory import keep_freed_memory, returning_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

told = keep_freed_memory()
news = []
tell = returning_freed_memory(news.append)
tell("first 1 of 2")
held = [b"x" * 2**20 for _ in range(200)]
last = held[-1]
del held
kept = resident()
tell("first 2 of 2")
same = resident()
tell("second")
assert news == ["first 1 of 2", "first 2 of 2", "second"]
print(told, kept, same, resident())
"""


def test_a_stage_leaves_nothing_behind() -> None:
    found = subprocess.run(
        [sys.executable, "-c", RESIDENT],
        check=True,
        capture_output=True,
        text=True,
        env={n: v for n, v in os.environ.items() if not n.startswith("MALLOC_")},
    )
    told, kept, same, left = found.stdout.split()
    if told != "True":
        pytest.skip("only glibc can be told")
    assert abs(int(same) - int(kept)) < 2**22, "within a stage it is kept"
    assert int(left) < int(kept) - 150 * 2**20


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
