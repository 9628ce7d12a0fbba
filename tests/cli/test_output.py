"""Writing in one step: whatever happens, the old folder or the new one is there, whole."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graphprune.cli import output
from graphprune.errors import OutputError
from graphprune.workflow.write import FILES
from tests.cli.conftest import environment

WRITER = """
import sys
from pathlib import Path
from graphprune.workflow.write import FILES
from graphprune.cli import output

if sys.argv[2] == "aside":
    output._exchange = lambda a, b: False
print("ready", flush=True)
for version in range(1_000_000):
    with output.new_folder(Path(sys.argv[1]), force=True) as folder:
        for name in FILES:
            (folder / name).write_text(f"{version}" * 1000)
"""


def fill(path: Path, content: str, *, force: bool = False) -> None:
    with output.new_folder(path, force=force) as folder:
        for name in FILES:
            (folder / name).write_text(content)


def contents(path: Path) -> set[str]:
    """The distinct contents of a folder that must be complete."""
    assert sorted(entry.name for entry in path.iterdir()) == sorted(FILES)
    return {entry.read_text() for entry in path.iterdir()}


@pytest.mark.parametrize("swap", ["exchange", "aside"])
def test_killed_at_any_moment(tmp_path: Path, swap: str) -> None:
    out = tmp_path / "out"
    fill(out, "first")
    generator = random.Random(0)
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(out), swap],
            env=environment(),
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(generator.uniform(0.005, 0.05))
            process.kill()
        # Where folders can't be exchanged, the next run puts the old one back.
        output._restore(out)
        assert len(contents(out)) == 1
    fill(out, "last", force=True)
    assert contents(out) == {"last"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def fail(path: Path, *, force: bool) -> None:
    with output.new_folder(path, force=force) as folder:
        assert folder.parent == path.parent
        assert folder.name.startswith(f".{path.name}.partial-")
        (folder / FILES[0]).write_text("new")
        raise KeyError


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fail(tmp_path / "a" / "b", force=False)
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_old_one(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    with pytest.raises(KeyError):
        fail(tmp_path / "out", force=True)
    assert contents(tmp_path / "out") == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_something_appears_meanwhile(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interfere() -> None:
        with output.new_folder(out, force=False) as folder:
            (folder / FILES[0]).write_text("ours")
            out.mkdir()
            (out / "theirs").write_text("theirs")

    with pytest.raises(OutputError):
        interfere()
    assert [path.name for path in out.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leftovers(tmp_path: Path) -> None:
    dead, elsewhere = tmp_path / ".out.partial-0123abcd", tmp_path / ".out2.partial-0123abcd"
    mine, link = tmp_path / ".out.partial-notes", tmp_path / ".out.partial-01234567"
    for folder in (dead, elsewhere, mine):
        folder.mkdir()
        (folder / "file").write_text("")
    link.symlink_to(elsewhere)
    with output.new_folder(tmp_path / "out", force=False) as living:
        fill(tmp_path / "out", "by another run")  # which leaves this one's folder alone
        assert living.is_dir()
        living.joinpath(FILES[0]).write_text("")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"out", living.name, elsewhere.name, mine.name, link.name}
        (tmp_path / "out").rename(tmp_path / "aside")
    assert (elsewhere / "file").exists()


def test_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    fill(tmp_path / "out", "")
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with output.new_file(path, force=False) as write:
        write("old")
        assert not path.exists()
    with pytest.raises(OutputError, match="exists"), output.new_file(path, force=False):
        pass
    with pytest.raises(KeyError), output.new_file(path, force=True):
        raise KeyError
    assert path.read_text() == "old"
    with output.new_file(path, force=True) as write:
        write("new")
    assert path.read_text() == "new"
    with pytest.raises(OutputError, match="not a file"), output.new_file(tmp_path, force=True):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("name", ["/", "x" * 300, "/dev/null/out"])
def test_impossible_places(name: str) -> None:
    with pytest.raises(OutputError), output.new_folder(Path(name), force=True):
        pass


def test_a_file_of_bytes(tmp_path: Path) -> None:
    with output.new_file(tmp_path / "small.pt", force=False) as write:
        write(b"\xff\x00")
        write("text")
    assert (tmp_path / "small.pt").read_bytes() == b"\xff\x00text"
