"""What is fuzzed: everything that reads a file which somebody else may have written, and what a cut makes of odd graphs.

A target takes bytes. They aren't the file: they are read as a list of edits on a good one, so that
most inputs get past the first check; or, for graphs of ONNX, as the choices that make a valid one. Whatever
they make, only our own errors may come out.
"""

from __future__ import annotations

import atexit
import functools
import io
import random
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import GraphpruneError, InternalError, VerifyError
from graphprune.ir.ort_process import OrtProcess
from graphprune.loading import load
from graphprune.loading.onnx.examples import examples
from graphprune.loading.onnx.network import Network
from graphprune.loading.onnx.read_graph import read_graph
from graphprune.plan.plan import GroupPlan, Plan

from .onnx_graphs import onnx_model, onnx_network

__all__ = ["TARGETS"]

ARCH = "tests.fuzz.targets:Small"
SHAPE = ("2x3",)


class Small(nn.Module):
    """The network in the good files."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(x)))


def edited(good: bytes, data: bytes) -> bytes:
    """A good file with the edits that ``data`` describes, six bytes each."""
    made = bytearray(good)
    for start in range(0, len(data) - 5, 6):
        kind, high, low, length, value, more = data[start : start + 6]
        at = (high << 8 | low) % (len(made) + 1)
        match kind % 6:
            case 0:
                made[at : at + 1] = bytes([value])
            case 1:
                made[at : at + length] = b""
            case 2:
                made[at:at] = bytes([value]) * (length + 1)
            case 3:
                made[at : at + 8] = (value << 56 | more).to_bytes(8, "little")
            case 4:
                other = (value << 8 | more) % (len(made) + 1)
                made[at:at] = made[other : other + length]
            case _:
                made[at : at + 1] = b'0123456789-e.[]{},":"x'[value % 22 : value % 22 + 1]
    return bytes(made)


def repacked(good: bytes, data: bytes) -> bytes:
    """An archive, of which one entry is edited; or, now and then, the archive itself."""
    if not data or data[0] % 8 == 0:
        return edited(good, data[1:])
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    chosen = sorted(parts)[data[0] % len(parts)]
    parts[chosen] = edited(parts[chosen], data[1:])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _network() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@functools.cache
def good_checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save(_network().state_dict(), buffer)
    return buffer.getvalue()


@functools.cache
def good_pickle() -> bytes:
    """As PyTorch 1.5 wrote it, without an archive around it."""
    buffer = io.BytesIO()
    torch.save(_network().state_dict(), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@functools.cache
def good_program() -> bytes:
    buffer = io.BytesIO()
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(_network(), (torch.randn(2, 3),), dynamic_shapes=shapes)
    torch.export.save(program, buffer)
    return buffer.getvalue()


@functools.cache
def good_onnx() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _network(),
            (torch.randn(2, 3),),
            buffer,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    return buffer.getvalue()


GOOD_PLAN = Plan("sha256:ab", (
    GroupPlan("a", 4, (0, 2), ("a.weight:0", "b.weight:1")), GroupPlan("b", 9, (1, 7, 8)),
), {"macs": 0.5}, {"macs": 9.0, "params": 17.0}).to_json().encode()  # fmt: skip


def plan(data: bytes) -> bool:
    """A plan is read and, if it is one, survives the round trip."""
    text = edited(GOOD_PLAN, data).decode("utf-8", "surrogateescape")
    with _ours() as refused:
        found = Plan.from_json(text)
        if found != Plan.from_json(found.to_json()):
            raise AssertionError(text)
    return not refused


def _file(suffix: str, make: Callable[[bytes], bytes], arch: str = "") -> Callable[[bytes], bool]:
    def target(data: bytes) -> bool:
        """The file is read, or refused; whether it was read."""
        with tempfile.TemporaryDirectory() as folder, _ours() as refused:
            path = Path(folder) / f"model{suffix}"
            path.write_bytes(make(data))
            load(path, arch=arch, inputs=SHAPE if arch else ())
        return not refused

    return target


@functools.cache
def _process() -> OrtProcess:
    """The process of all nodes that run whole, which takes longer to start than most cases to run."""
    process = OrtProcess()
    atexit.register(process.close)
    return process


def nodes(data: bytes) -> bool:
    """A valid graph is read and run node by node, without the rest of what reading a file does."""
    with tempfile.TemporaryDirectory() as folder, _ours() as refused:
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx_model(data))
        graph = read_graph(path)
        network = Network(graph, path.name)
        with network.whole.trial(_process()):
            network.try_nodes(examples(graph, []))
    return not refused


def cut(data: bytes) -> bool:
    """A valid graph behind a layer is read, cut to 0.7 of its FLOPs, proven, and written as ONNX."""
    with tempfile.TemporaryDirectory() as folder, _ours() as refused:
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx_network(data))
        found = load(path)
        assert found.onnx_file
        try:
            result = gp.compress(found.dense, found.inputs, flops=0.7, any_width=True)
        except (InternalError, VerifyError) as error:
            raise AssertionError("what is cut isn't what it should be") from error
        result.from_file(found.onnx_file).export_onnx(Path(folder) / "small.onnx")
    return not refused


@contextmanager
def _ours() -> Iterator[list[str]]:
    """Catches our own errors, checks that they can be shown, and no others."""
    refused: list[str] = []
    try:
        yield refused
    except GraphpruneError as error:
        if len(str(error)) > 2000 or "\x1b" in str(error):
            raise AssertionError(f"not fit for a terminal: {error!a:.300}") from error
        refused.append(str(error))


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "plan": plan,
    "checkpoint": _file(".pt", lambda data: repacked(good_checkpoint(), data), ARCH),
    "pickle": _file(".pt", lambda data: edited(good_pickle(), data), ARCH),
    "program": _file(".pt2", lambda data: repacked(good_program(), data)),
    "safetensors": _file(".safetensors", lambda data: edited(
        safetensors.torch.save(_network().state_dict()), data), ARCH),
    "onnx": _file(".onnx", lambda data: edited(good_onnx(), data)),
    "onnx-cut": cut,
    "onnx-graph": _file(".onnx", onnx_model),
    "onnx-nodes": nodes,
}  # fmt: skip


def seeds() -> Iterator[bytes]:
    """Inputs to start from: no edit, each kind of edit on several entries of an archive, long ones."""
    yield b""
    generator = random.Random(0)
    yield from (generator.randbytes(60) for _ in range(20))
    for entry in range(1, 8):
        for kind in range(6):
            yield bytes([entry, kind, 0, 40, 3, 7, 9])
