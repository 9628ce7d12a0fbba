"""Folders of smaller checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from graphprune.loading.checkpoint_folder import read_folder
from graphprune.workflow.cut_checkpoint import CutCheckpoint
from graphprune.workflow.write_checkpoint import write_checkpoint_folder


def test_files_keep_their_form_and_what_was_not_cut_its_bytes(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "logs").mkdir(parents=True)
    (source / "logs" / "1.txt").write_text("log")
    for name in ("model", "optimizer"):  # beside the files whose names begin alike
        (source / name).mkdir()
        (source / name / "1.txt").write_text(name)
    (source / "state.pkl").write_bytes(b"anything")
    save_file({"w": torch.ones(4, 3)}, source / "model.safetensors", {"format": "pt", "by": "me"})
    torch.save({"state": torch.ones(4)}, source / "optimizer.bin")
    torch.save({"last": torch.ones(4)}, source / "scheduler.bin")
    content = read_folder(source, trust_pickle=False)
    content["model.safetensors"] = {"w": torch.ones(4, 3).t()[:2]}  # a view
    content["optimizer.bin"] = {"state": torch.ones(2)}
    done = CutCheckpoint(
        content, {"model.safetensors": "weights", "optimizer.bin.state": "optimiser"}
    )
    target.mkdir()
    write_checkpoint_folder(done, source, target)
    found = read_folder(target, trust_pickle=False)
    assert found["model.safetensors"]["w"].shape == (2, 4)
    assert len(found["optimizer.bin"]["state"]) == 2
    with safe_open(target / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "by": "me"}
    for name in ("scheduler.bin", "state.pkl", "logs/1.txt", "model/1.txt", "optimizer/1.txt"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
