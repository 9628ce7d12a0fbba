"""Fuzz one target with atheris: ``python -m tests.fuzz.run TARGET [RUNS [SECONDS [options]]]``.

Needs the extra ``fuzz``; the options are libFuzzer's. Ends after so many cases or seconds, with the number of cases and of those that were read; a crash ends
the process at once, with the input that caused it in a file of the current folder.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["graphprune"]):
    from tests.fuzz.targets import TARGETS, seeds


def main() -> None:
    defaults = ["plan", "20000", "86400"]
    name, runs, limit = sys.argv[1:4] + defaults[len(sys.argv[1:4]) :]
    target, cases, read, start = TARGETS[name], 0, 0, time.monotonic()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        nonlocal cases, read
        read += target(data)
        cases += 1
        seconds = time.monotonic() - start
        if cases == int(runs) or seconds > float(limit):
            print(
                f"{name}: {cases} cases, {read} read, {cases - read} refused, {seconds:.0f} s",
                flush=True,
            )
            os._exit(0)  # libFuzzer's own exit would skip what is printed

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup(
            [
                sys.argv[0],
                f"-runs={int(runs) * 2}",
                "-max_len=100",
                "-timeout=120",
                "-rss_limit_mb=4096",
                "-verbosity=0",
                *sys.argv[4:],
                corpus,
            ],
            one,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
