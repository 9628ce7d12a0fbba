"""What the machine does to a run: it ends it by a signal, or has no memory left."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

from graphprune.errors import GraphpruneError, ResourceError, first_line

__all__ = ["ending_cleanly", "lack_of_memory"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What ends a process by default, without its ``finally`` blocks. Ctrl-C is an exception already."""

_NO_MEMORY = (
    "can't allocate memory",  # torch, on Linux and macOS
    "cannot allocate memory",
    "failed to allocate memory",  # onnxruntime
    "not enough memory",  # torch, on Windows
    "out of memory",  # torch, on CUDA
    "bad_alloc",  # C++
    "bad allocation",
    "can't start new thread",
)
"""How libraries say it, in errors that have no type of their own."""


@contextmanager
def ending_cleanly() -> Generator[None]:
    """Let signals that end a process run its ``finally`` blocks, which remove temporary files.

    The exit code is 128 and the signal's number, as shells show it. A second one is ignored while
    the first is obeyed. What the parent process told to ignore, as ``nohup`` does, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    ours = [each for each, handler in before.items() if handler is signal.SIG_DFL]

    ended: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        if not ended:
            ended.append(number)
            raise SystemExit(128 + number)

    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, before[each])


def lack_of_memory(failure: BaseException) -> ResourceError | None:
    """Return the error to show if a failure, or what it comes from, is a lack of memory."""
    for cause in _causes(failure):
        if _says_so(cause):
            what = first_line(cause) if str(cause) else "an object of Python"
            error = ResourceError(
                f"out of memory: {what[:200]}",
                hint="give it more memory, or a smaller example input or fewer samples",
            )
            error.__cause__ = cause
            return error
    return None


def _says_so(cause: BaseException) -> bool:
    if isinstance(cause, OSError):
        return cause.errno == errno.ENOMEM
    if isinstance(cause, GraphpruneError):
        return False  # its message may quote names from files; its cause is looked at next
    text = str(cause).lower()
    return isinstance(cause, MemoryError) or any(each in text for each in _NO_MEMORY)


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """Walk from a failure to what it comes from."""
    cause: BaseException | None = failure
    seen = set[int]()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        hidden = cause.__suppress_context__
        cause = cause.__cause__ or (None if hidden else cause.__context__)
