"""Archives that state what is not so are refused before they are unpacked."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from graphprune.errors import LoadError
from graphprune.loading.load import load
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
