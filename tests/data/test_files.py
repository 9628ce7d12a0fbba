"""Files of a folder or of a zip archive: which there are, and what may be read of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from graphprune.data.files import list_files, reader
from graphprune.errors import LoadError
from tests.data.helpers import zipped


def test_links_in_circles_end(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    (tmp_path / "circle").symlink_to(tmp_path)
    assert len(list_files(tmp_path, (".png",))) == 30


def test_names_are_sorted_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a.png", "b/.x/3.png", "__MACOSX/a.png", ".a.png", "b/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert list_files(tmp_path, (".png",)) == ["a.png", "b/2.PNG"]
    archive = zipped(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")
    assert list_files(archive, (".png",)) == ["a.png", "b/2.PNG"]
    for place in (tmp_path, archive):
        with reader(place) as read:
            assert read("b/2.PNG") == b"b/2.PNG"


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.data.files.MAX_BYTES", 1 << 20)
    (tmp_path / "a").write_bytes(bytes(1 << 20))
    (tmp_path / "b").write_bytes(bytes((1 << 20) + 1))
    archive = zipped(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")
    for place in (tmp_path, archive):
        with reader(place) as read:
            assert len(read("a")) == 1 << 20
            with pytest.raises(OSError, match="more than 1 MiB"):
                read("b")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with reader(tmp_path) as read, pytest.raises(OSError, match="not a file"):
        read("pipe.png")


def test_what_is_neither_a_folder_nor_an_archive(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(LoadError, match="text is neither a folder nor a zip archive"):
        list_files(tmp_path / "text", (".png",))
    with pytest.raises(LoadError, match="no such file"):
        list_files(tmp_path / "absent", (".png",))
