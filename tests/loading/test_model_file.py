"""Files that lie, or want to run code: each is refused with our own error, and does nothing."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.loading.model_file import load
from tests import nets
from tests.cli.conftest import environment
from tests.loading.helpers import ARCH, SAFETENSORS, SHAPE, Trap, rewritten, weights


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.bin"])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_is_not_unpickled(name: str, legacy: bool, mark: Path, tmp_path: Path) -> None:
    for content in ({"a.weight": Trap(mark)}, Trap(mark), [Trap(mark)]):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(LoadError, match="reading them runs code") as caught:
            load(tmp_path / name, arch=ARCH, inputs=SHAPE)
        assert "trust_pickle" in caught.value.options
    (tmp_path / name).write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(LoadError):
        load(tmp_path / name, arch=ARCH, inputs=SHAPE)


def test_truncated_at_any_length(checkpoint: bytes, program: bytes, tmp_path: Path) -> None:
    packed = safetensors.torch.save(weights())
    whole = {"model.pt": checkpoint, "model.pt2": program, "model.safetensors": packed}
    for name, data in whole.items():
        file = tmp_path / name
        for share in range(20):
            file.write_bytes(data[: len(data) * share // 20])
            with pytest.raises(LoadError):
                load(file, arch="" if name.endswith("2") else ARCH, inputs=())


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_safetensors_that_lie(kind: str, tmp_path: Path) -> None:
    data = SAFETENSORS[kind]
    whole = data if data[:1] != b"{" else struct.pack("<Q", len(data)) + data + bytes(4)
    (tmp_path / "model.safetensors").write_bytes(whole)
    with pytest.raises(LoadError, match="not a safetensors file"):
        load(tmp_path / "model.safetensors", arch=ARCH, inputs=SHAPE)


def test_a_file_of_another_kind_than_its_name_says(
    checkpoint: bytes, program: bytes, tmp_path: Path
) -> None:
    packed = safetensors.torch.save(weights())
    contents = {
        "checkpoint": checkpoint,
        "program": program,
        "packed": packed,
        "text": b"# hello\n",
    }
    for name in ("model.onnx", "model.safetensors"):
        for kind, data in contents.items():
            if (name, kind) != ("model.safetensors", "packed"):
                (tmp_path / name).write_bytes(data)
                with pytest.raises(LoadError):
                    load(tmp_path / name)
    for kind in ("packed", "text"):
        (tmp_path / "model.pt").write_bytes(contents[kind])
        with pytest.raises(LoadError):
            load(tmp_path / "model.pt", arch=ARCH)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")  # opening one for reading waits forever
    for path in (tmp_path, tmp_path / "pipe.pt", Path("/dev/zero"), tmp_path / ("x" * 300)):
        with pytest.raises((LoadError, OSError)):
            load(path)
    with pytest.raises(LoadError, match="is not a file"):
        load(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda s: s.update({"a.weight": s["a.weight"].to(torch.int8)}),
            "torch.int8 in 'a.weight'",
        ),
        (lambda s: s.update({"a.weight": "text"}), "doesn't fit"),
        (lambda s: s.update({"a.weight": s["a.weight"][:3]}), "doesn't fit"),
        (lambda s: s.pop("a.weight"), "doesn't fit"),
        (lambda s: s.update({"surplus": torch.zeros(1)}), "doesn't fit"),
        (lambda s: s.update({7: torch.zeros(1)}), "not a state dict"),
        (lambda s: s.update({"a.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}), "doesn't fit"),
    ],
)
def test_weights_of_another_form(
    change: Callable[[dict[Any, Any]], None], says: str, tmp_path: Path
) -> None:
    state: dict[Any, Any] = dict(weights())
    change(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(LoadError, match=says):
        load(tmp_path / "model.pt", arch=ARCH, inputs=SHAPE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    state = weights()
    state["b.weight"][3, 2, 1, 0] = value
    torch.save(state, tmp_path / "model.pt")
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    for name in ("model.pt", "model.safetensors"):
        with pytest.raises(LoadError, match=r"NaN or Inf in 'b\.weight'"):
            load(tmp_path / name, arch=ARCH, inputs=SHAPE)
    net = nets.NormedResidual().eval()
    net.load_state_dict(state)
    torch.export.save(torch.export.export(net, net.inputs()), tmp_path / "model.pt2")
    with pytest.raises(LoadError, match="NaN or Inf"):
        load(tmp_path / "model.pt2")
    with pytest.raises(LoadError, match="NormedResidual holds NaN or Inf"):
        gp.compress(net, net.inputs(), flops=0.5)


class Masking(nn.Module):
    """Attention masks are infinite on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("mask", torch.full((4, 4), -float("inf")).triu(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.fc(x) + self.get_buffer("mask"), -1)


def test_buffers_may_be_infinite_but_not_nan(tmp_path: Path) -> None:
    net = Masking().eval()
    torch.export.save(torch.export.export(net, (torch.randn(4, 4),)), tmp_path / "model.pt2")
    assert load(tmp_path / "model.pt2").program is not None
    net.get_buffer("mask")[0, 0] = float("nan")
    torch.export.save(torch.export.export(net, (torch.randn(4, 4),)), tmp_path / "model.pt2")
    with pytest.raises(LoadError, match="NaN or Inf in 'mask'"):
        load(tmp_path / "model.pt2")


BOMBS = """
import resource, sys
from pathlib import Path
from graphprune.errors import GraphpruneError
from graphprune.loading.model_file import load

start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load(file, arch="tests.nets:NormedResidual" if file.suffix in (".pt", ".safetensors") else "")
    except GraphpruneError:
        continue
    raise AssertionError(file)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


def test_memory_is_bounded(checkpoint: bytes, program: bytes, tmp_path: Path) -> None:
    from tests.loading.onnx.helpers import BOMBS as ONNX_BOMBS

    pack = {"compression": zipfile.ZIP_DEFLATED}
    for name, good in (("a.pt", checkpoint), ("b.pt2", program)):
        data = rewritten(good, lambda p: p.update(data=bytes(1 << 30)), **pack)
        (tmp_path / name).write_bytes(data)
    for name, data in SAFETENSORS.items():
        whole = data if data[:1] != b"{" else struct.pack("<Q", len(data)) + data + bytes(4)
        (tmp_path / f"{name}.safetensors").write_bytes(whole)
    for name, model in ONNX_BOMBS.items():
        (tmp_path / f"{name}.onnx").write_bytes(model().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) < 400_000  # KiB; importing onnxruntime and torch.export is most of it


@pytest.mark.parametrize("content", [b"{}", b"hello world" * 99, b"\x89PNG....", b"<html></html>"])
def test_what_no_tool_of_torch_wrote_is_no_pickle(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(content)
    with pytest.raises(LoadError, match="neither a zip archive nor a pickle") as caught:
        load(file, arch=ARCH, inputs=SHAPE)
    assert "trust" not in str(caught.value)


def test_a_file_that_was_cut_off_says_so(checkpoint: bytes, tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    file.write_bytes(checkpoint[: len(checkpoint) // 2])
    with pytest.raises(LoadError, match="complete"):
        load(file, arch=ARCH, inputs=SHAPE)


def test_weights_of_the_smaller_model_point_to_its_program(tmp_path: Path) -> None:
    torch.save({"inp.weight": torch.zeros(3, 3, 3, 3)}, tmp_path / "model.pt")
    with pytest.raises(LoadError) as caught:
        load(tmp_path / "model.pt", arch=ARCH, inputs=SHAPE)
    assert "model.pt2" not in str(caught.value)
    for name in ("model.pt2", "plan.json"):
        (tmp_path / name).touch()
    with pytest.raises(LoadError, match=r"smaller model.*model\.pt2"):
        load(tmp_path / "model.pt", arch=ARCH, inputs=SHAPE)
