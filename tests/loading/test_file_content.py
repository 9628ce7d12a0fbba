"""What stands in a file of weights is read without running its code, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from graphprune.errors import LoadError
from graphprune.io.files import write_checkpoint
from graphprune.loading.file_content import read_checkpoint, read_content, read_weights
from tests.loading.helpers import Trap, weights


def test_checkpoints_are_read_or_refused(tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "state.pt"
    assert read_checkpoint(path) is None
    write_checkpoint(path, {"step": 3})
    assert read_checkpoint(path) == {"step": 3}
    torch.save([1], path)
    with pytest.raises(LoadError, match="holds a list, not a checkpoint"):
        read_checkpoint(path)
    torch.save({"step": Trap(mark)}, path)
    with pytest.raises(LoadError, match="reading them runs code"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(LoadError, match="is empty"):
        read_checkpoint(path)


def test_the_suffix_says_how_a_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        read_content(tmp_path / "model.pt", trust_pickle=False)
    torch.save(weights(), tmp_path / "model.pt")
    safetensors.torch.save_file(weights(), tmp_path / "model.safetensors")
    for name in ("model.pt", "model.safetensors"):
        assert read_content(tmp_path / name, trust_pickle=False).keys() == weights().keys()
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "model.pt").read_bytes())
    with pytest.raises(LoadError, match="not a safetensors file"):
        read_weights(tmp_path / "other.safetensors")


def test_only_who_trusts_a_file_lets_it_run_code(tmp_path: Path) -> None:
    made = tmp_path / "made"
    torch.save({"step": Trap(made)}, tmp_path / "model.pt")
    with pytest.raises(LoadError, match="reading them runs code"):
        read_content(tmp_path / "model.pt", trust_pickle=False)
    assert not made.exists()
    read_content(tmp_path / "model.pt", trust_pickle=True)
    assert made.exists()
