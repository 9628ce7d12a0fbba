"""Files that lie, or want to run code: each is refused with our own error, and does nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.loading.load import load
from tests import nets
from tests.cli.conftest import environment

ARCH = "tests.nets:NormedResidual"
SHAPE = ("2x3x8x8",)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A path that exists only if code of a hostile file ran."""
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def program() -> bytes:
    """A good ``.pt2``."""
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    net = nets.NormedResidual().eval()
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(net, net.inputs(), dynamic_shapes=shapes), buffer)
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


MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


def symbol(document: Any, text: str) -> None:
    """Write another expression for every symbolic size."""
    for value in document["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = text


def first_node(document: Any) -> dict[str, Any]:
    return document["graph_module"]["graph"]["nodes"][0]


def trap(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save((Trap(mark),), buffer)
    return buffer.getvalue()


Change = Callable[[dict[str, bytes]], None]

CODE: dict[str, Callable[[Path], Change]] = {
    "pickled-inputs": lambda mark: lambda p: p.update({"data/sample_inputs/model.pt": trap(mark)}),
    "pickled-weights": lambda mark: lambda p: p.update({"data/weights/model.pt": trap(mark)}),
    "use-pickle": lambda mark: lambda p: (
        p.update({"data/weights/weight_0": trap(mark)}),
        edited(WEIGHTS, lambda d: d["config"]["a.weight"].update(use_pickle=True))(p))[0],
    "opaque-object": lambda mark: lambda p: (
        p.update({"data/constants/opaque_obj_0": pickle.dumps(Trap(mark))}),
        edited("data/constants/model_constants_config.json", lambda d: d["config"].update(
            {"x": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True,
                   "tensor_meta": None}}))(p))[0],
    "compiled-library": lambda mark: lambda p: p.update({"data/aotinductor/model/a.so": b"\x7fELF"}),
    "expression": lambda mark: edited(MODEL, lambda d: symbol(
        d, f"__import__('os').mkdir({str(mark)!r})")),
    "expression-attribute": lambda mark: edited(MODEL, lambda d: symbol(
        d, f"Symbol.__init__.__globals__['os'].mkdir({str(mark)!r})")),
    "expression-in-string": lambda mark: edited(MODEL, lambda d: symbol(
        d, f"Integer(\"__import__('os').mkdir({str(mark)!r})\")")),
    "expression-tower": lambda mark: edited(MODEL, lambda d: symbol(d, "9**9**9**9")),
    "target": lambda mark: edited(MODEL, lambda d: first_node(d).update(target="torch.os.mkdir")),
    "target-library": lambda mark: edited(MODEL, lambda d: first_node(d).update(
        target="torch.ops.load_library")),
    "target-file": lambda mark: edited(MODEL, lambda d: first_node(d).update(
        target="torch.ops.aten.from_file.default")),
    "name": lambda mark: edited(MODEL, lambda d: first_node(d)["outputs"][0]["as_tensor"].update(
        name=f"x = __import__('os').mkdir({str(mark)!r}); y")),
    "argument-name": lambda mark: edited(MODEL, lambda d: first_node(d)["inputs"][0].update(
        name=f"a=__import__('os').mkdir({str(mark)!r}), b")),
    "keyword": lambda mark: edited(MODEL, lambda d: d["graph_module"]["module_call_graph"][0][
        "signature"].update(forward_arg_names=[f"x=__import__('os').mkdir({str(mark)!r})"])),
}  # fmt: skip


@pytest.mark.parametrize("kind", CODE)
def test_a_program_that_wants_to_run_code(
    kind: str, program: bytes, mark: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(rewritten(program, CODE[kind](mark)))
    with pytest.raises(LoadError, match="could run code") as caught:
        load(file)
    assert "trust_pickle" in caught.value.options
    assert len(str(caught.value)) < 500


def test_code_in_the_guards_of_a_program_is_never_run(
    program: bytes, mark: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pt2"
    guard = f"__import__('os').mkdir({str(mark)!r})"
    file.write_bytes(rewritten(program, edited(MODEL, lambda d: d.update(guards_code=[guard]))))
    found = load(file).program
    assert found is not None
    found.module()(*nets.NormedResidual().inputs())


def test_a_good_program_is_read_unchanged(program: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(program)
    careful = load(tmp_path / "model.pt2").program
    trusting = load(tmp_path / "model.pt2", trust_pickle=True).program
    assert careful is not None
    assert trusting is not None
    x = torch.randn(5, 3, 8, 8)
    assert torch.equal(careful.module()(x), trusting.module()(x))
    assert str(careful.graph) == str(trusting.graph)


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


def test_torchscript_is_code(mark: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nets.NormedResidual()), tmp_path / "model.pt")
    with pytest.raises(LoadError, match="TorchScript, and reading it may run code"):
        load(tmp_path / "model.pt", inputs=SHAPE)
    assert load(tmp_path / "model.pt", inputs=SHAPE, trust_pickle=True).program is not None


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return nets.NormedResidual().state_dict()


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save(weights(), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_zip_bombs(name: str, checkpoint: bytes, program: bytes, tmp_path: Path) -> None:
    good = program if name.endswith("2") else checkpoint
    bomb = rewritten(
        good, lambda p: p.update(data=bytes(1 << 24)), compression=zipfile.ZIP_DEFLATED
    )
    assert len(bomb) < 1 << 18
    (tmp_path / name).write_bytes(bomb)
    with pytest.raises(LoadError, match="compressed entries"):
        load(tmp_path / name, arch=ARCH if name == "model.pt" else "", inputs=())
    # Entries that overlap, or state sizes that the file doesn't have.
    data = bytearray(good)
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LoadError, match="more content than it has bytes"):
        load(tmp_path / name)


def test_two_entries_of_one_name(checkpoint: bytes, tmp_path: Path) -> None:
    # Readers disagree on which of them counts.
    buffer = io.BytesIO(checkpoint)
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], b"another")
    (tmp_path / "model.pt").write_bytes(buffer.getvalue())
    with pytest.raises(LoadError, match="two entries of the same name"):
        load(tmp_path / "model.pt", arch=ARCH)


def test_truncated_at_any_length(checkpoint: bytes, program: bytes, tmp_path: Path) -> None:
    packed = safetensors.torch.save(weights())
    whole = {"model.pt": checkpoint, "model.pt2": program, "model.safetensors": packed}
    for name, data in whole.items():
        file = tmp_path / name
        for share in range(20):
            file.write_bytes(data[: len(data) * share // 20])
            with pytest.raises(LoadError):
                load(file, arch="" if name.endswith("2") else ARCH, inputs=())


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
from graphprune.loading.load import load

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
    from tests.loading.onnx.test_network import BOMBS as ONNX_BOMBS

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
