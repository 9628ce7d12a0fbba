"""Archives that state what is not so are refused before they are unpacked."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from graphprune.errors import LoadError
from graphprune.loading import load
from graphprune.loading.zip_archive import Archive, open_archive
from tests.loading.helpers import ARCH, rewritten


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_zip_bombs(name: str, checkpoint: bytes, program: bytes, tmp_path: Path) -> None:
    good = program if name.endswith("2") else checkpoint
    bomb = rewritten(
        good, lambda p: p.update(data=bytes(1 << 24)), compression=zipfile.ZIP_DEFLATED
    )
    assert len(bomb) < 1 << 18
    (tmp_path / name).write_bytes(bomb)
    with pytest.raises(LoadError, match="compressed entries"):
        load(tmp_path / name, arch=ARCH if name == "model.pt" else "", inputs=())
    # Entries that overlap, or state sizes that the file doesn't have.
    data = bytearray(good)
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LoadError, match="more content than it has bytes"):
        load(tmp_path / name)


def test_two_entries_of_one_name(checkpoint: bytes, tmp_path: Path) -> None:
    # Readers disagree on which of them counts.
    buffer = io.BytesIO(checkpoint)
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], b"another")
    (tmp_path / "model.pt").write_bytes(buffer.getvalue())
    with pytest.raises(LoadError, match="two entries of the same name"):
        load(tmp_path / "model.pt", arch=ARCH)


def test_entries_are_named_without_the_folder_they_all_lie_in(tmp_path: Path) -> None:
    for name, entries, root in (
        ("one", ["m/a", "m/b/c"], "m"),
        ("two", ["m/a", "n/b"], ""),
        ("flat", ["a", "m/b"], ""),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for entry in entries:
                file.writestr(entry, entry)
        archive = open_archive(tmp_path / name)
        assert archive is not None
        assert archive.root == root
        assert archive.names == {entry[len(root) :].lstrip("/") for entry in entries}
        for entry in archive.names:
            assert archive.read(entry).decode().endswith(entry)


def test_what_is_no_archive_is_none_and_what_is_missing_is_damage(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    assert open_archive(tmp_path / "text") is None
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as file:
        file.writestr("m/a", "1")
    archive = open_archive(tmp_path / "m.pt")
    assert archive is not None
    with pytest.raises(LoadError, match=r"m\.pt is damaged at 'b'"):
        archive.read("b")


@pytest.mark.parametrize(
    ("entries", "program", "script"),
    [
        (["archive_format", "models/model.json"], True, False),
        (["constants.pkl"], False, True),
        (["code/a.py", "data.pkl"], False, True),
        (["code/a.py", "archive_format"], True, False),
        (["data.pkl"], False, False),
    ],
)
def test_kinds_of_archives(entries: list[str], program: bool, script: bool, tmp_path: Path) -> None:
    archive = Archive(tmp_path, "m", frozenset(entries))
    assert (archive.is_program, archive.is_script) == (program, script)
