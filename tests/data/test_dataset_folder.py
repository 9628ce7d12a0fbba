"""Folders of the datasets library: columns by name, padded text, casts that lose nothing, clear errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data import accuracy, calibrate, open_source
from graphprune.data.dataset_folder import DatasetFolder, is_dataset_folder
from graphprune.errors import LoadError, OptionError
from graphprune.ir.trace import trace

LENGTH, WORDS, CLASSES = 5, 30, 3


class Reader(nn.Module):
    """Classifies tokenised text, and takes no notice of what the mask hides."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 16)
        self.hidden, self.classes = nn.Linear(16, 24), nn.Linear(24, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.hidden(self.words(input_ids)).relu()
        mask = attention_mask.to(x.dtype)[..., None]
        return self.classes((x * mask).sum(1) / mask.sum(1))


def reader(mask: torch.dtype = torch.int64) -> ExportedProgram:
    torch.manual_seed(0)
    example = torch.ones(2, LENGTH, dtype=torch.int64), torch.ones(2, LENGTH, dtype=mask)
    return trace(Reader().eval(), example)


def tokens(count: int) -> dict[str, Any]:
    """Columns as a tokeniser leaves them, with the text and one that no model reads."""
    rng = np.random.default_rng(0)
    return {
        "text": [f"sentence {i}" for i in range(count)],
        "attention_mask": [[1] * 3 + [0] * (LENGTH - 3) for _ in range(count)],
        "input_ids": rng.integers(0, WORDS, (count, LENGTH)).tolist(),
        "offset": list(range(count)),
    }


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return pytest.importorskip("datasets")


def saved(library: Any, path: Path, columns: dict[str, Any], **types: Any) -> Path:
    data = library.Dataset.from_dict(columns)
    for name, kind in types.items():
        data = data.cast_column(name, kind)
    data.save_to_disk(str(path))
    return path


@pytest.mark.parametrize("mask", [torch.int64, torch.bool, torch.int32])
def test_columns_go_by_the_names_of_the_inputs(
    library: Any, tmp_path: Path, mask: torch.dtype
) -> None:
    small = library.Sequence(library.Value("int8"))
    path = saved(library, tmp_path / "tokens", tokens(40), attention_mask=small)
    data = calibrate(path, reader(mask), 30)
    assert data.source == "30 of 40 samples in tokens"
    ids, masks = (torch.cat(column) for column in zip(*data.batches, strict=True))
    assert (ids.dtype, masks.dtype) == (torch.int64, mask)
    assert masks.to(torch.int64).tolist() == [[1, 1, 1, 0, 0]] * 30
    drawn = {tuple(row) for row in ids.tolist()}
    assert len(drawn) == 30
    assert drawn <= {tuple(row) for row in tokens(40)["input_ids"]}
    again = open_source(path, seed=1).calibration(reader(mask), 30)
    assert not torch.equal(ids, torch.cat([batch[0] for batch in again.batches]))


def test_the_network_is_refitted_on_it(library: Any, tmp_path: Path) -> None:
    path = saved(library, tmp_path / "tokens", tokens(64))
    result = gp.compress(reader(), flops=0.5, calibration=str(path))
    assert result.report.calibration["samples"] == 64
    assert result.report.recovery["after"] < result.report.recovery["before"]


def test_floats_and_a_single_input(library: Any, tmp_path: Path) -> None:
    program = trace(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), (torch.ones(2, 4),))
    values = np.random.default_rng(0).normal(size=(9, 4))
    path = saved(library, tmp_path / "numbers", {"features": values.tolist()})
    (x,) = zip(*calibrate(path, program, 20).batches, strict=True)
    found = torch.cat(x).sort(0).values
    torch.testing.assert_close(found, torch.from_numpy(values).float().sort(0).values)


@pytest.mark.parametrize("name", ["label", "labels"])
def test_classes_are_a_column(library: Any, tmp_path: Path, name: str) -> None:
    program, columns = reader(), tokens(300)
    with torch.no_grad():
        ids, mask = (torch.tensor(columns[key]) for key in ("input_ids", "attention_mask"))
        right = program.module()(ids, mask).argmax(1)
    path = saved(library, tmp_path / "tokens", {**columns, name: right.tolist()})
    assert accuracy(program, open_source(path)) == 1.0
    wrong = saved(library, tmp_path / "wrong", {**columns, name: ((right + 1) % CLASSES).tolist()})
    assert accuracy(program, open_source(wrong)) == 0.0


@pytest.mark.parametrize("more", [{}, {"label": [0] * 4, "labels": [0] * 4}])
def test_without_one_column_of_classes(library: Any, tmp_path: Path, more: dict[str, Any]) -> None:
    path = saved(library, tmp_path / "tokens", tokens(4) | more)
    with pytest.raises(LoadError, match="of the columns label and labels"):
        accuracy(reader(), open_source(path))


def ragged(count: int) -> dict[str, Any]:
    columns = tokens(count)
    columns["input_ids"][count // 2] = [1, 2]
    return columns


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (ragged(20), "column input_ids of tokens have different sizes"),
        (tokens(20) | {"input_ids": ["words"] * 20}, "column input_ids of tokens holds no numbers"),
        (tokens(20) | {"input_ids": [[1.5] * LENGTH] * 20}, "int64 is expected"),
        (tokens(20) | {"input_ids": [[1] * 7] * 20}, r"\[n, 5\] is expected"),
        ({"ids": tokens(20)["input_ids"]}, "has ids; the model takes input_ids, attention_mask"),
        ({name: [] for name in ("input_ids", "attention_mask")}, "is empty"),
    ],
    ids=["ragged", "text", "floats", "longer", "names", "empty"],
)
def test_what_the_model_does_not_take(
    library: Any, tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = saved(library, tmp_path / "tokens", columns)
    with pytest.raises(LoadError, match=message):
        calibrate(path, reader(), 20)


def test_values_that_a_cast_would_change(library: Any, tmp_path: Path) -> None:
    columns = tokens(8) | {"attention_mask": [[2] * LENGTH] * 8}
    path = saved(library, tmp_path / "tokens", columns)
    with pytest.raises(LoadError, match=r"attention_mask of tokens has values .* torch.bool"):
        calibrate(path, reader(torch.bool), 8)


def test_sizes_that_differ_from_one_part_of_the_data_to_the_next(
    library: Any, tmp_path: Path
) -> None:
    columns = tokens(512) | {"label": [0] * 512}
    for name in ("input_ids", "attention_mask"):
        columns[name][256:] = [[1] * (LENGTH + 2)] * 256
    path = saved(library, tmp_path / "tokens", columns)
    with pytest.raises(LoadError, match="different sizes"):
        accuracy(reader(), open_source(path))


def test_broken_folders(library: Any, tmp_path: Path) -> None:
    path = saved(library, tmp_path / "tokens", tokens(4))
    for file in path.glob("*.arrow"):
        file.write_bytes(b"nonsense")
    with pytest.raises(LoadError, match="tokens can't be read"):
        calibrate(path, reader(), 4)
    (path / "state.json").write_text("{")
    with pytest.raises(LoadError, match="tokens can't be read"):
        calibrate(path, reader(), 4)


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}", encoding="utf-8")
    return path


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    path = folder(tmp_path / "tokens", "state.json", "dataset_info.json")
    with pytest.raises(LoadError, match="saved by the datasets library") as failure:
        calibrate(path, reader(), 4)
    assert "pip install datasets" in failure.value.hint
    with pytest.raises(LoadError, match="saved by the datasets library"):
        accuracy(reader(), open_source(path))


def test_several_datasets_in_one_folder(tmp_path: Path) -> None:
    path = folder(tmp_path / "both", "dataset_dict.json")
    with pytest.raises(LoadError, match="both holds several datasets") as failure:
        calibrate(path, reader(), 4)
    assert str(path / "train") in failure.value.hint


def test_images_are_no_dataset(tmp_path: Path) -> None:
    path = folder(tmp_path / "tokens", "state.json", "dataset_info.json")
    assert isinstance(open_source(path), DatasetFolder)
    with pytest.raises(OptionError, match="for images"):
        open_source(path, mean=(0.5,))
    assert not is_dataset_folder(folder(tmp_path / "images", "state.json"))
    assert not is_dataset_folder(tmp_path / "nothing")
