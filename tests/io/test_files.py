"""Files are written whole or not at all, and errors say what to do."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path

import pytest
import torch

from graphprune.errors import OutputError
from graphprune.io.files import saved_program, write_bytes, write_checkpoint
from graphprune.ir.program import unlift
from graphprune.ir.relift import relift


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.onnx"
    write_bytes(file, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"can't write model\.onnx") as failure:
        write_bytes(file, b"new")
    assert failure.value.hint == "free some space"
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("model.onnx", b"old")]


def test_a_folder_that_is_missing_is_an_error_and_stays_missing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"can't write a\.json: No such file") as failure:
        write_bytes(tmp_path / "absent" / "a.json", b"")
    assert str(tmp_path / "absent") in failure.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_read_without_unpickling_objects(tmp_path: Path) -> None:
    content = {"step": 3, "weights": {"a": torch.arange(3.0)}, "seeds": [1, 2]}
    for _ in range(2):  # the second replaces the first
        write_checkpoint(tmp_path / "state.pt", content)
    found = torch.load(tmp_path / "state.pt", weights_only=True)
    assert torch.equal(found["weights"].pop("a"), torch.arange(3.0))
    assert found == {"step": 3, "weights": {}, "seeds": [1, 2]}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_program_is_stored_alike_in_each_process_and_stays_as_it_is() -> None:
    first = torch.export.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),))
    program = relift(unlift(first), first)  # torch notes where its nodes come from
    before = [dict(node.meta) for node in program.graph.nodes]
    data = saved_program(program)
    assert [dict(node.meta) for node in program.graph.nodes] == before
    assert any("from_node" in meta for meta in before)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert not any(b"from_node" in archive.read(name) for name in archive.namelist())
    again = torch.export.load(io.BytesIO(data)).module()
    assert torch.equal(again(torch.ones(1, 2)), program.module()(torch.ones(1, 2)))
