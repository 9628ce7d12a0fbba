"""Tensors from files: drawn by the seed, named as the inputs are, never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from graphprune.data import calibrate, open_source
from graphprune.errors import LoadError
from graphprune.ir.trace import trace
from tests.data.helpers import joined


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_tensor_files(kind: str, program: ExportedProgram, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((100, 3, 8, 8))
    path = tmp_path / f"inputs.{kind}"
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez_compressed(path, inputs=x)
    else:
        from safetensors.numpy import save_file

        save_file({"inputs": x}, path)
    data = calibrate(path, program, 70)
    assert [len(batch[0]) for batch in data.batches] == [7] * 10
    assert data.source == f"70 of 100 samples in inputs.{kind}"
    rows = {row.tobytes() for row in x.astype(np.float32)}
    taken = {row.numpy().tobytes() for row in joined(data)}
    assert len(taken) == 70
    assert taken <= rows
    again = open_source(path, seed=1).calibration(program, 70)
    assert not torch.equal(joined(data), joined(again))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(left) + right))


def test_several_inputs_go_by_their_names(tmp_path: Path) -> None:
    example = (torch.randn(2, 3), torch.randn(2, 8))
    program = trace(TwoInputs(), example)
    path = tmp_path / "inputs.npz"
    np.savez(path, right=np.full((5, 8), 2.0), left=np.full((5, 3), 1.0), other=np.zeros(1))
    batches = calibrate(path, program, 9).batches
    batch = [torch.cat(values) for values in zip(*batches, strict=True)]
    assert [(tuple(x.shape), float(x.mean())) for x in batch] == [((5, 3), 1.0), ((5, 8), 2.0)]
    np.savez(path, right=np.zeros((5, 8)), left=np.zeros((4, 3)))
    with pytest.raises(LoadError, match="different numbers of samples: 4, 5"):
        calibrate(path, program, 9)
    np.savez(path, right=np.zeros((5, 8)), centre=np.zeros((5, 3)))
    with pytest.raises(LoadError, match=r"has centre, right; the model takes left, right"):
        calibrate(path, program, 9)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_broken_tensor_files(name: str, program: ExportedProgram, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (b"", b"nonsense" * 20, b"PK\x03\x04" + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(LoadError, match=f"{name} can't be read"):
            calibrate(path, program, 1)


def test_pickled_arrays_are_not_read(program: ExportedProgram, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(LoadError, match="can't be read"):
        calibrate(path, program, 1)
