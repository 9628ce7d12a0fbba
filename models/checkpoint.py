"""Write what the training scripts leave: a state dict, and beside it how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

__all__ = ["write"]


def write(model: nn.Module, out: Path, record: Mapping[str, object]) -> None:
    """Write a state dict, and a JSON file of the same name.

    Args:
        model: the trained network.
        out: the checkpoint to write.
        record: what to say of it; its size and torch's version are added.
    """
    torch.save(model.state_dict(), out)  # noqa: TID251
    size = sum(p.numel() for p in model.parameters())
    record = {**record, "parameters": size, "torch": torch.__version__}
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
