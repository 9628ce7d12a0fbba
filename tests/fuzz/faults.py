"""Disturb `graphprune compress --force` in many ways: the old output is there, or the new one, whole.

    python -m tests.fuzz.faults kill 200

Each run is a fork of this process, which has imported everything, and writes another network than
the one that lies at the output. Afterwards the output must be one of the two, byte by byte, and
nothing may lie beside it; what a killed run leaves there has to be gone after the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import io
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from graphprune.cli.__main__ import main
from tests import nets

OPTIONS = ("--arch", "tests.nets:OptionAShortcut", "--input", "2x3x8x8", "--no-onnx", "--quiet")
BUDGETS = ("0.7", "0.4")
PATIENCE = 20.0
"""A run that takes so many times as long as one that nobody disturbs hangs."""
MOST_KILOBYTES = 16_000
"""Address space beyond what a fork starts with, at most; a run takes a little more."""
NOBODY = 65534
WITHOUT_ERROR = {0}
REPORTED = {0, 2}
"""Exit codes of a run that ended, or named the fault. An abort of C++ code is not among them."""


@dataclass
class Place:
    """An output folder, what it may hold, and how long a run takes."""

    folder: Path
    seconds: float = 0.0
    allowed: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def arguments(self, budget: str) -> list[str]:
        weights = str(self.folder / "weights.pt")
        return ["compress", weights, *OPTIONS, "--flops", budget, "-o", str(self.out), "--force"]

    def prepare(self) -> None:
        """Write both networks once."""
        torch.manual_seed(0)
        torch.save(nets.OptionAShortcut().state_dict(), self.folder / "weights.pt")
        with contextlib.redirect_stdout(io.StringIO()):
            main(self.arguments(BUDGETS[0]))  # imports the rest
        for budget in BUDGETS:
            start = time.perf_counter()
            code, _ = self.wait(self.start(budget, lambda: None))
            assert code == 0, code
            self.seconds = time.perf_counter() - start
            self.allowed[budget] = self.digest()
        assert len(set(self.allowed.values())) == len(BUDGETS)

    def start(self, budget: str, disturb: Callable[[], None]) -> int:
        """Fork a run, and return its process id."""
        child = os.fork()
        if child:
            return child
        code = 99
        try:
            with (self.folder / "messages").open("wb") as messages:
                for stream in (1, 2):
                    os.dup2(messages.fileno(), stream)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # shells may ignore it
            disturb()
            code = main(self.arguments(budget))
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)

    def wait(self, child: int) -> tuple[int, float]:
        """Wait for a run. Returns its exit code, negative for a signal, and the seconds it took."""
        start = time.perf_counter()
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            spent = time.perf_counter() - start
            if done:
                return os.waitstatus_to_exitcode(status), spent
            if self.seconds and spent > PATIENCE * self.seconds:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise AssertionError("a run hangs")
            time.sleep(0.005)

    def digest(self) -> str:
        """Names and bytes of the output."""
        sums = hashlib.sha256()
        for path in sorted(self.out.iterdir()):
            sums.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return sums.hexdigest()

    def now(self) -> str:
        """The budget of the network that lies there."""
        found = [budget for budget, digest in self.allowed.items() if digest == self.digest()]
        if not found:
            raise AssertionError(f"half an output: {sorted(p.name for p in self.out.iterdir())}")
        return found[0]

    def beside(self) -> list[str]:
        """What lies beside the output and is temporary."""
        ours = {"out", "weights.pt", "messages", "filler"}
        return sorted(path.name for path in self.folder.iterdir() if path.name not in ours)


def _kilobytes(name: str) -> int:
    """Memory of this process, as Linux counts it."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


Fault = Callable[[Place, str, random.Random], Counter[str]]


def _signalled(number: int, codes: set[int], *, clean: bool) -> Fault:
    def fault(place: Place, budget: str, generator: random.Random) -> Counter[str]:
        # Half of them near the end, where files are written.
        begin = 0.0 if generator.random() < 0.5 else 0.75
        child = place.start(budget, lambda: None)
        time.sleep(place.seconds * generator.uniform(begin, 1.1))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
        code, _ = place.wait(child)
        return _judged(place, budget, code, codes, clean=clean)

    return fault


def _limited(limit: Callable[[Place, random.Random], Callable[[], None]], codes: set[int]) -> Fault:
    def fault(place: Place, budget: str, generator: random.Random) -> Counter[str]:
        code, _ = place.wait(place.start(budget, limit(place, generator)))
        # An abort by C++ code can't be caught: it is like a kill.
        return _judged(
            place, budget, code, codes | {-signal.SIGABRT, -signal.SIGSEGV}, clean=code >= 0
        )

    return fault


def _judged(place: Place, budget: str, code: int, codes: set[int], *, clean: bool) -> Counter[str]:
    """Count how a run ended, or raise an ``AssertionError`` if it must not end so."""
    messages = (place.folder / "messages").read_text("utf-8", "replace")
    if code not in codes:
        raise AssertionError(f"exit code {code}: {messages[-3000:]}")
    found = place.now()
    if code == 0:
        assert found == budget, "said to be done, but it isn't there"
    left = place.beside()
    named = [name for name in left if name in messages]
    if clean and left != named:
        raise AssertionError(f"left behind and not named: {left}")
    return Counter([
        f"exit code {code}", "new" if found == budget else "old",
        *["temporary files left"] * bool(left),
    ])  # fmt: skip


def _file_size(place: Place, generator: random.Random) -> Callable[[], None]:
    largest = max(path.stat().st_size for path in place.out.iterdir())
    size = generator.randrange(1, largest)
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _memory(place: Place, generator: random.Random) -> Callable[[], None]:
    del place
    size = (_kilobytes("VmSize") + generator.randrange(MOST_KILOBYTES)) * 1024
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _jumping_clock(place: Place, generator: random.Random) -> Callable[[], None]:
    year, seed = 365 * 86400.0, generator.random()
    os.utime(place.out, (4e9, 4e9))

    def disturb() -> None:
        real, jumps = time.time, random.Random(seed)
        time.time = lambda: real() + jumps.uniform(-year, year)
        time.time_ns = lambda: int(time.time() * 1e9)

    return disturb


def _unwritable(place: Place, generator: random.Random) -> Callable[[], None]:
    del generator

    def disturb() -> None:
        place.folder.chmod(0o555)
        if os.geteuid() == 0:  # who may write everywhere
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            ctypes.CDLL(None).prctl(4, 1)  # still readable in /proc

    return disturb


def _read_only(place: Place, budget: str, generator: random.Random) -> Counter[str]:
    try:
        return _limited(_unwritable, {2})(place, budget, generator)
    finally:
        place.folder.chmod(0o755)


def _full_disk(place: Place, budget: str, generator: random.Random) -> Counter[str]:
    """Leave a random number of bytes free on a small file system."""
    free = os.statvfs(place.folder)
    space = free.f_bavail * free.f_frsize
    if space > 1 << 26:
        raise SystemExit("this needs a small file system: mount -t tmpfs -o size=12m tmpfs FOLDER")
    needed = 2 * sum(path.stat().st_size for path in place.out.iterdir())
    filler = place.folder / "filler"
    try:
        filler.write_bytes(bytes(max(space - generator.randrange(needed), 0)))
        code, _ = place.wait(place.start(budget, lambda: None))
    finally:
        filler.unlink()
    return _judged(place, budget, code, REPORTED, clean=True)


def _two_runs(place: Place, budget: str, generator: random.Random) -> Counter[str]:
    """Let both networks be written at the same time."""
    children = [place.start(budget, lambda: None)]
    time.sleep(place.seconds * generator.uniform(0, 0.2))
    children += [place.start(each, lambda: None) for each in BUDGETS]
    codes = [place.wait(child)[0] for child in children]
    assert set(codes) <= REPORTED, codes
    assert 0 in codes
    found = place.now()
    assert not place.beside(), place.beside()
    return Counter([f"exit codes {sorted(codes)}", "new" if found == budget else "old"])


FAULTS: dict[str, Fault] = {
    "kill": _signalled(signal.SIGKILL, {0, -signal.SIGKILL}, clean=False),
    "terminate": _signalled(signal.SIGTERM, {0, 143}, clean=True),
    "interrupt": _signalled(signal.SIGINT, {0, 130}, clean=True),
    "file-limit": _limited(_file_size, REPORTED),
    "memory": _limited(_memory, REPORTED),
    "clock": _limited(_jumping_clock, WITHOUT_ERROR),
    "read-only": _read_only,
    "full-disk": _full_disk,
    "two-runs": _two_runs,
}


def run(kind: str, times: int, seed: int, folder: Path) -> Counter[str]:
    """Disturb so many runs, each at the alternative of what lies there."""
    place, counts, generator = Place(folder), Counter[str](), random.Random(seed)
    place.prepare()
    for _ in range(times):
        before = place.now()
        budget = next(each for each in BUDGETS if each != before)
        counts += FAULTS[kind](place, budget, generator)
    code, _ = place.wait(place.start(BUDGETS[0], lambda: None))
    assert code == 0, code
    assert place.now() == BUDGETS[0]
    assert not place.beside(), place.beside()
    return counts


def command_line() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=FAULTS)
    parser.add_argument("times", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to write; for a full disk a small one")
    given = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        os.chmod(folder, 0o755)
        counts = run(given.kind, given.times, given.seed, Path(folder))
    shown = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    print(f"{given.kind}: {given.times} runs in {time.perf_counter() - start:.0f} s; {shown}")


if __name__ == "__main__":
    command_line()
