"""Try one target with random bytes: ``python -m tests.fuzz.unguided TARGET [CASES [SEED]]``.

For targets whose bytes are choices, every input of which makes a case, such as ``onnx-nodes``: without the coverage that ``run.py``
goes by, ten times as many are tried in the same time. Needs no extra. Ends at the first crash. The input that caused it is in the file
``unguided.case`` of the current folder, also where the process itself was ended.
"""

from __future__ import annotations

import logging
import random
import sys
import time
import warnings
from pathlib import Path

from tests.fuzz.targets import TARGETS

LONGEST = 100
"""Most bytes of a case, as in ``run.py``."""

CASE = Path("unguided.case")
"""Where the input of the present case is."""

REPORT = 1000
"""Cases after which a line says how far it is."""


def main() -> None:
    defaults = ["onnx-nodes", "10000", "0"]
    name, cases, seed = sys.argv[1:4] + defaults[len(sys.argv[1:4]) :]
    draw = random.Random(int(seed))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    read, start, slowest = 0, time.monotonic(), 0.0
    for number in range(1, int(cases) + 1):
        data = draw.randbytes(draw.randrange(LONGEST + 1))
        begun = time.monotonic()
        CASE.write_bytes(data)
        read += TARGETS[name](data)
        slowest = max(slowest, time.monotonic() - begun)
        if number % REPORT == 0 or number == int(cases):
            print(
                f"{name}: {number} cases, {read} read, {number - read} refused, "
                f"{time.monotonic() - start:.0f} s, {slowest:.1f} s the slowest",
                flush=True,
            )
    CASE.unlink()


if __name__ == "__main__":
    main()
