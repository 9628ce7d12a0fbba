"""Files of tensors: read by name, never unpickled."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from graphprune.errors import LoadError
from graphprune.io import tensor_files
from graphprune.io.tensor_files import read_tensors


def test_three_kinds_of_files(tmp_path: Path) -> None:
    a, b = torch.rand(2, 3), torch.arange(4)
    np.savez(tmp_path / "f.npz", a=a.numpy(), b=b.numpy())
    np.savez_compressed(tmp_path / "small.NPZ", a=a.numpy(), b=b.numpy())
    (tmp_path / "small.NPZ.npz").rename(tmp_path / "small.NPZ")
    save_file({"a": a, "b": b}, tmp_path / "f.safetensors")
    for name in ("f.npz", "small.NPZ", "f.safetensors"):
        found = read_tensors(tmp_path / name)
        assert found.keys() == {"a", "b"}
        assert torch.equal(found["a"], a)
        assert torch.equal(found["b"], b)
    np.save(tmp_path / "f.npy", a.numpy())
    assert torch.equal(read_tensors(tmp_path / "f.npy")["x"], a)


def test_what_is_missing_broken_or_code(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        read_tensors(tmp_path / "none.npz")
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "f.npz", a=objects)
    np.save(tmp_path / "f.npy", objects)
    (tmp_path / "f.safetensors").write_bytes(b"\0" * 20)
    for name in ("f.npz", "f.npy", "f.safetensors"):
        with pytest.raises(LoadError, match="can't be read"):
            read_tensors(tmp_path / name)


def stated(shape: tuple[int, ...]) -> bytes:
    """An array of 16 bytes that states another shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16)


@pytest.mark.parametrize("shape", [(5,), (2**50,), (2**70,), (2**31, 2**31), (-1,)])
def test_an_array_that_states_more_than_it_holds(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "f.npy").write_bytes(stated(shape))
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("a.npy", stated(shape))
    for name in ("f.npy", "f.npz"):
        with pytest.raises(LoadError, match="can't be read"):
            read_tensors(tmp_path / name)


def test_an_archive_whose_compressed_data_is_damaged(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "f.npz", a=np.arange(1000))
    whole = (tmp_path / "f.npz").read_bytes()
    for place in range(60, len(whole) - 150, 20):
        (tmp_path / "f.npz").write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
        with pytest.raises(LoadError, match="can't be read"):
            read_tensors(tmp_path / "f.npz")


def test_an_archive_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "f.npz", a=np.zeros(10_000))
    monkeypatch.setattr(tensor_files, "MAX_BYTES", 1000)
    with pytest.raises(LoadError, match="it unpacks to more than"):
        read_tensors(tmp_path / "f.npz")
