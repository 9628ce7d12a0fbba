"""Temporary files: known to the next run, locked while they are filled, named when they stay."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphprune.io import partial as partials
from graphprune.io.files import write_bytes
from graphprune.io.partial import aside, partial, remove

KILLED = """
import os, signal, sys
from pathlib import Path
from graphprune.io import files

replace = Path.replace
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write_bytes(Path(sys.argv[1]), b"new")
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    write_bytes(file, b"old")
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", KILLED, file], cwd=Path(__file__).parents[2], check=False
        )
    assert file.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2  # the second removed what the first left
    write_bytes(file, b"newer")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"state.pt": b"newer"}


def test_what_another_run_fills_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with partial(file, Path.touch) as other:
        write_bytes(file, b"this run")
        assert other.exists()
    assert names(tmp_path) == {"a.json"}


def test_other_names_are_left_alone(tmp_path: Path) -> None:
    kept = {".a.json.partial-notes", ".b.json.partial-01234567", "a.json.partial-01234567"}
    for name in kept:
        (tmp_path / name).touch()
    write_bytes(tmp_path / "a.json", b"")
    assert names(tmp_path) == {"a.json", *kept}


@pytest.mark.parametrize("there", [True, False])
def test_an_old_folder_is_removed_only_if_it_was_replaced(tmp_path: Path, *, there: bool) -> None:
    target = tmp_path / "out"
    aside(target).mkdir()
    if there:
        target.mkdir()
    with partial(target, Path.mkdir):
        assert aside(target).exists() is not there


@pytest.mark.parametrize("moment", ["before it is locked", "while it is locked"])
def test_swept_by_another_run_in_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    lock, calls = partials._lock, list[Path]()

    def interfered(path: Path) -> int:
        calls.append(path)
        if len(calls) == 1 and moment == "before it is locked":
            path.unlink()
        elif len(calls) == 1:
            raise BlockingIOError
        return lock(path)

    monkeypatch.setattr(partials, "_lock", interfered)
    with partial(tmp_path / "a", Path.touch) as path:
        assert path == calls[-1]
        assert len(calls) == 2


def test_a_name_that_is_swept_after_it_was_opened_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    opened = os.open

    def swept(path: Path, flags: int) -> int:
        handle = opened(path, flags)
        path.unlink()
        return handle

    monkeypatch.setattr("os.open", swept)
    with pytest.raises(FileNotFoundError):
        partials._lock(file)


def test_a_place_where_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swept(_: Path) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(partials, "_lock", swept)
    with pytest.raises(OSError, match="other runs"), partial(tmp_path / "a", Path.touch):
        pass


def test_what_can_not_be_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stuck(*_: object, **__: object) -> None:
        raise OSError("Read-only file system")

    for path in (tmp_path / "file", tmp_path / "folder"):
        path.touch() if path.name == "file" else path.mkdir()
    monkeypatch.setattr(Path, "unlink", stuck)
    monkeypatch.setattr("os.rmdir", stuck)
    with caplog.at_level(logging.WARNING):
        remove(tmp_path / "file")
        remove(tmp_path / "folder")
    messages = [record.getMessage() for record in caplog.records]
    assert [
        f"temporary {tmp_path / name};" in text
        for name, text in zip(("file", "folder"), messages, strict=True)
    ] == [True] * 2
