"""Models timed in turn: which pairs there are, and what is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from graphprune.errors import LoadError, OptionError
from graphprune.export.bench import bench
from tests.export.helpers import affine, converted

pytestmark = pytest.mark.onnx


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "a.onnx"
    onnx.save(converted(affine()), path)
    return path


def test_every_model_is_timed_at_every_pair_and_told(model: Path) -> None:
    told: list[str] = []
    found = bench([model, model], batches=(1, 3), threads=(1, 2), rounds=3, progress=told.append)
    assert told == [f"batch {b}, {t}" for b in (1, 3) for t in ("1 thread", "2 threads")]
    pairs = [(timing.batch, timing.threads) for timing in found.timings]
    assert pairs == [(b, t) for b in (1, 3) for t in (1, 2) for _ in range(2)]
    assert all(timing.seconds.runs == 3 for timing in found.timings)
    assert [timing.ratio.median for timing in found.timings[::2]] == [1.0] * 4
    assert json.loads(found.to_json())["format"] == "graphprune.bench/1"


def test_what_is_refused(model: Path) -> None:
    for options in ({"rounds": 0}, {"warmup": -1}, {"batches": (1, 0)}):
        with pytest.raises(OptionError, match="must be at least 1"):
            bench([model], **options)
    with pytest.raises(LoadError, match="no such file"):
        bench([model, model.with_name("b.onnx")])
    with pytest.raises(OptionError, match="no input has a dynamic axis 'tokens'") as caught:
        bench([model], dims={"tokens": 7})
    assert "batch" in caught.value.hint


def test_folders_and_what_is_no_onnx_file(model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    assert bench([tmp_path, model], rounds=1, warmup=0).timings[0].file.endswith("model.onnx")
    for name, content in (("net.pt", b"PK"), ("plan.json", b"{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LoadError, match=name):
            bench([tmp_path / name], rounds=1, warmup=0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(LoadError, match=r"empty/model\.onnx"):
        bench([empty], rounds=1, warmup=0)
