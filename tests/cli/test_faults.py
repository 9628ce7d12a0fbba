"""What the machine does to a run, one part at a time; `tests/fuzz/test_faults.py` does it for real."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graphprune.cli import __main__, faults
from graphprune.errors import ExportError, LoadError, ResourceError
from tests.cli.conftest import Ran, environment, expect

WAITING = """
import signal, sys, time
from pathlib import Path
from graphprune.cli import output
from graphprune.cli.faults import ending_cleanly

for each in (signal.SIGTERM, signal.SIGHUP):  # the parent may ignore them, as nohup does
    signal.signal(each, signal.SIG_DFL)
with ending_cleanly(), output.new_folder(Path(sys.argv[1]), force=True) as folder:
    (folder / "model.pt").write_text("half")
    print("ready", flush=True)
    try:
        time.sleep(60)
    finally:
        time.sleep(float(sys.argv[2]))
"""


def said(text: str, kind: type[Exception] = RuntimeError) -> Exception:
    return kind(text)


def caused(error: Exception, cause: BaseException, *, shown: bool = True) -> Exception:
    try:
        try:
            raise cause
        except type(cause):
            if shown:
                raise error  # noqa: B904 - by its context
            raise error from None
    except type(error) as found:
        return found


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        said(
            "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 4096"
        ),
        said("std::bad_alloc"),
        said("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 8"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        caused(ExportError("torch can't export it"), MemoryError("one tensor")),
    ],
)
def test_a_lack_of_memory_is_known(error: Exception) -> None:
    found = faults.lack_of_memory(error)
    assert isinstance(found, ResourceError)
    assert found.message.startswith("out of memory: ")
    assert found.hint


@pytest.mark.parametrize(
    "error",
    [
        LoadError("no such file: out of memory.pt"),
        OSError(errno.ENOSPC, "No space left on device"),
        said("shapes don't match"),
        caused(LoadError("no such layer"), MemoryError(), shown=False),
    ],
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert faults.lack_of_memory(error) is None


def test_it_is_shown_as_an_error_and_not_as_a_bug(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def app(**_: object) -> None:
        torch.empty(1 << 60)

    monkeypatch.setattr(__main__, "app", app)
    expect(cli("compress"), 2, "error[GP011]: out of memory: ", "hint: ")


@pytest.mark.parametrize(
    ("number", "again"),
    [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGTERM, True)],
)
def test_a_signal_removes_temporary_files(
    tmp_path: Path, number: signal.Signals, *, again: bool
) -> None:
    call = [sys.executable, "-c", WAITING, str(tmp_path / "out"), "0.6" if again else "0"]
    with subprocess.Popen(call, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        if again:  # while it cleans up
            time.sleep(0.2)
            process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_what_is_to_be_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with faults.ending_cleanly():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone() -> None:
    found: list[object] = []

    def look() -> None:
        with faults.ending_cleanly():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
