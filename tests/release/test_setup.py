"""An sdist's bytes don't tell when, where and by whom it was made."""

from __future__ import annotations

import os
import runpy
import tarfile
from pathlib import Path

from tests.sources import ROOT

EPOCH = 1_700_000_000


def archive(path: Path, names: list[str], time: int) -> bytes:
    for name in names:
        file = path / "a" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        os.utime(file, (time, time))
    made = path / "a.tar.gz"
    with tarfile.open(made, "w:gz") as tar:
        for name in names:
            tar.add(path / "a" / name, f"a/{name}")
    runpy.run_path(str(ROOT / "setup.py"))["repack"](made, EPOCH)
    return made.read_bytes()


def test_time_order_and_place_do_not_matter(tmp_path: Path) -> None:
    names = ["pyproject.toml", "graphprune/api.py"]
    first = archive(tmp_path / "first", names, 1_000_000_000)
    second = archive(tmp_path / "second" / "deeper", names[::-1], 1_600_000_000)
    assert first == second
    assert first != archive(tmp_path / "third", [*names, "more.py"], 1_600_000_000)


def test_contents_and_the_right_to_run_stay(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run").touch(mode=0o700)
    archive(tmp_path, ["run", "b.txt"], 5)
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        found = {m.name: (m.mode, m.mtime, m.uid, m.uname) for m in tar.getmembers()}
        text = tar.extractfile("a/b.txt")
        assert text is not None
        assert text.read() == b"b.txt"
    assert found == {"a/b.txt": (0o644, EPOCH, 0, ""), "a/run": (0o755, EPOCH, 0, "")}
