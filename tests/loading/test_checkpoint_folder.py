"""Folders of training checkpoints, as accelerate writes them."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from graphprune.errors import LoadError
from graphprune.loading.checkpoint_folder import read_folder


def saved_state(folder: Path) -> nn.Module:
    """Write what ``Accelerator.save_state`` does, and something beside."""
    net = nn.Linear(3, 2)
    (folder / "logs").mkdir(parents=True)
    (folder / "notes.txt").write_text("step 3")
    save_file(net.state_dict(), folder / "model.safetensors", {"format": "pt"})
    torch.save(torch.optim.SGD(net.parameters(), 0.1).state_dict(), folder / "optimizer.bin")
    with (folder / "random_states_0.pkl").open("wb") as file:
        pickle.dump({"random_state": random.getstate(), "any": object()}, file)
    return net


def test_files_of_tensors_are_read_and_others_stand_for_themselves(tmp_path: Path) -> None:
    net = saved_state(tmp_path)
    found = read_folder(tmp_path, trust_pickle=False)
    assert torch.equal(found["model.safetensors"]["weight"], net.weight)
    assert found["optimizer.bin"]["param_groups"][0]["lr"] == 0.1
    for name in ("logs", "notes.txt", "random_states_0.pkl"):
        assert found[name] == tmp_path / name
    assert list(found) == sorted(found)


@pytest.mark.parametrize("name", ["optimizer.bin", "model.safetensors", "ema.pt"])
def test_a_file_that_is_cut_short_is_an_error(name: str, tmp_path: Path) -> None:
    saved_state(tmp_path)
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "ema.pt")
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoadError, match=name):
        read_folder(tmp_path, trust_pickle=False)
