"""Ultralytics: a smaller model trains, is saved and loaded, validates and exports, and never grows unsaid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from graphprune.errors import LoadError, OptionError
from graphprune.integrations.ultralytics import (
    NOT_BUILT,
    compress,
    is_smaller,
    keeping,
    load,
    protected,
)
from tests.documents import blocks
from tests.sources import ROOT

CLASSES = 80
SIZE = 64


class Described(nn.Module):
    """What a model of Ultralytics says of itself."""

    def __init__(self, described: dict[str, Any], *, fused: bool = False) -> None:
        super().__init__()
        self.yaml, self.fused = described, fused
        self.layer = nn.Linear(2, 2)

    def is_fused(self) -> bool:
        return self.fused


class Trainer:
    """Builds a model anew, as the trainers of Ultralytics do."""

    ddp = False

    def __init__(self, nc: int = 3, channels: int = 3) -> None:
        self.data = {"nc": nc, "channels": channels}

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> str:
        return f"built from {cfg}"


class Parallel(Trainer):
    ddp = True


def small(**options: bool) -> Described:
    row = [[-1, 1, NOT_BUILT, []], [-1, 1, "Conv", [16, 3, 2]]]
    return Described({"nc": 3, "channels": 3, "backbone": row, "head": []}, **options)


def test_a_trainer_keeps_a_smaller_model_and_builds_others() -> None:
    trainer, model = keeping(Trainer)(), small()
    kept = trainer.get_model(cfg=model.yaml, weights=model)
    assert type(kept) is Described
    assert kept is not model
    assert torch.equal(kept.layer.weight, model.layer.weight)
    dense = Described({"nc": 3, "backbone": [[-1, 1, "Conv", [16, 3, 2]]]})
    assert not is_smaller(dense)
    assert trainer.get_model(cfg="a.yaml", weights=dense) == "built from a.yaml"
    assert trainer.get_model(cfg="a.yaml") == "built from a.yaml"


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (Trainer(nc=2), "has 3 classes, the data 2"),
        (Trainer(channels=1), "has 3 channels of images, the data 1"),
    ],
)
def test_data_of_another_form_is_refused(trainer: Trainer, message: str) -> None:
    keeps = keeping(Trainer)(*trainer.data.values())
    with pytest.raises(OptionError, match=message):
        keeps.get_model(weights=small())


def test_what_would_make_it_large_again_is_refused() -> None:
    with pytest.raises(OptionError, match="from its own weights"):
        keeping(Trainer)().get_model(cfg=small().yaml)
    with pytest.raises(OptionError, match="BatchNorm of the model is folded"):
        keeping(Trainer)().get_model(weights=small(fused=True))
    with pytest.raises(OptionError, match="several devices"):
        keeping(Parallel)()


def test_an_object_without_a_module_is_refused() -> None:
    class Exported:
        model = "yolo.onnx"

    with pytest.raises(OptionError, match=r"holds 'yolo.onnx', which is no module"):
        compress(Exported(), flops=0.5)


def test_torchs_own_attention_stays_whole() -> None:
    attention = nn.MultiheadAttention(8, 2)
    net = nn.ModuleDict({"a": attention, "b": nn.ModuleList([attention, nn.Linear(8, 8)])})
    assert protected(net, ["b.1.*", "a.*"]) == ("b.1.*", "a.*")
    assert protected(nn.ModuleList([net, nn.MultiheadAttention(8, 2)]), ()) == ("0.a.*", "1.*")
    assert protected(nn.Linear(8, 8), ["*"]) == ("*",)


@pytest.fixture
def library() -> Any:
    from benchmarks.zoo_nets import import_torchvision

    pytest.importorskip("cv2")
    import_torchvision()
    return pytest.importorskip("ultralytics")


@pytest.fixture
def training(tmp_path: Path) -> dict[str, Any]:
    """Options for an epoch on eight images."""
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(8):
        pixels = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "labels" / f"{number}.txt").write_text(f"{number} .5 .5 .4 .4\n")
    names = "".join(f"  {number}: class {number}\n" for number in range(CLASSES))
    data = tmp_path / "data.yaml"
    data.write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames:\n{names}")
    return {
        "data": str(data), "epochs": 1, "imgsz": SIZE, "batch": 4, "workers": 0, "device": "cpu",
        "plots": False, "amp": False, "verbose": False, "project": str(tmp_path / "runs"),
    }  # fmt: skip


def unlike(model: nn.Module) -> None:
    """Make channels unlike each other, as in a trained network."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.requires_grad:
            factors = torch.exp(0.3 * torch.randn(layer.out_channels))
            layer.weight.data.mul_(factors.view(-1, 1, 1, 1))


def size_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


ELSEWHERE = """
import sys
sys.modules["graphprune"] = None
from benchmarks.zoo_nets import import_torchvision
import_torchvision()
import ultralytics
yolo = ultralytics.YOLO(sys.argv[1])
print("parameters", sum(p.numel() for p in yolo.model.parameters()))
yolo.train(data=sys.argv[2], epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False)
"""


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the library
@pytest.mark.parametrize(
    ("kind", "name"),
    [("YOLO", "yolov8n"), ("YOLO", "yolo11n"), ("YOLO", "yolo26n"), ("RTDETR", "rtdetr-l")],
)
def test_a_detector_goes_on_small(
    kind: str, name: str, library: Any, training: dict[str, Any], tmp_path: Path
) -> None:
    yolo = getattr(library, kind)(f"{name}.yaml")
    unlike(yolo.model)
    before = size_of(yolo.model)
    cut, result = compress(yolo, imgsz=SIZE, flops=0.5)
    count = size_of(cut.model)
    assert type(cut.model) is type(yolo.model)
    assert result.report.after.macs <= 0.5 * result.report.before.macs
    assert count < 0.9 * before
    assert size_of(yolo.model) == before
    assert not is_smaller(yolo.model)

    validation = {name: training[name] for name in ("data", "imgsz", "plots")}
    assert np.isfinite(cut.val(**validation).box.map)
    assert len(cut.predict(np.zeros((SIZE, SIZE, 3), np.uint8), imgsz=SIZE)) == 1
    assert not cut.model.is_fused()
    cut.train(**training)
    assert size_of(cut.model) == count
    saved = tmp_path / "small.pt"
    cut.save(saved)
    again = load(saved)
    assert size_of(again.model) == count
    again.train(**training)
    assert size_of(again.model) == count

    code = [sys.executable, "-c", ELSEWHERE, str(saved), training["data"]]
    elsewhere = subprocess.run(code, capture_output=True, text=True, check=False)
    assert f"parameters {count}" in elsewhere.stdout, elsewhere.stderr
    assert elsewhere.returncode == 1
    assert NOT_BUILT in elsewhere.stderr

    assert np.isfinite(load(saved).val(**validation).box.map)
    file = load(saved).export(format="onnx", imgsz=SIZE, simplify=False)
    outputs = onnxruntime.InferenceSession(file).run(
        None, {"images": np.zeros((1, 3, SIZE, SIZE), np.float32)}
    )
    assert np.isfinite(outputs[0]).all()


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_page_runs(
    library: Any, training: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    library.YOLO("yolov8n.yaml").save("best.pt")
    names: dict[str, Any] = {}
    few = ", ".join(f"{k}={training[k]!r}" for k in ("batch", "workers", "plots"))
    for block in blocks(ROOT / "docs" / "ultralytics.md"):
        if block.language == "python":
            code = block.code.replace("epochs=50", f"epochs=1, amp=False, {few}")
            exec(code.replace("imgsz=640", f"imgsz={SIZE}"), names)
    assert size_of(names["small"].model) < 0.95 * size_of(names["yolo"].model)
    assert (tmp_path / "small.onnx").exists()


@pytest.mark.zoo
@pytest.mark.slow
def test_a_model_of_full_size_is_not_taken_for_a_smaller_one(library: Any, tmp_path: Path) -> None:
    library.YOLO("yolov8n.yaml").save(tmp_path / "dense.pt")
    with pytest.raises(LoadError, match="holds no model that graphprune made smaller"):
        load(tmp_path / "dense.pt")
