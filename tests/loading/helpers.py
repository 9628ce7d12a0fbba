"""Good files, and ways to make them lie."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests import nets

ARCH = "tests.nets:NormedResidual"


SHAPE = ("2x3x8x8",)


MODEL = "models/model.json"


WEIGHTS = "data/weights/model_weights_config.json"


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def trap(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save((Trap(mark),), buffer)
    return buffer.getvalue()


def rewritten(data: bytes, change: Callable[[dict[str, bytes]], None], **options: Any) -> bytes:
    """The archive with its entries changed; names without torch's folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = archive.namelist()[0].partition("/")[0]
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(parts)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in parts.items():
            archive.writestr(f"{root}/{name}", content)
    return buffer.getvalue()


def edited(path: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    """Change one JSON document of a program."""

    def apply(parts: dict[str, bytes]) -> None:
        document = json.loads(parts[path])
        change(document)
        parts[path] = json.dumps(document).encode()

    return apply


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return nets.NormedResidual().state_dict()


SAFETENSORS: dict[str, bytes] = {
    "huge-header": struct.pack("<Q", 1 << 60) + b"{}",
    "long-header": struct.pack("<Q", 100) + b"{}",
    "not-json": struct.pack("<Q", 4) + b"{{{{",
    "offsets-beyond": json.dumps({
        "a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    }).encode(),
    "shape-beyond": json.dumps({
        "a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}
    }).encode(),
    "overflow": json.dumps({
        "a": {"dtype": "F32", "shape": [1 << 63, 1 << 63], "data_offsets": [0, 0]}
    }).encode(),
    "negative": json.dumps({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}).encode(),
}
