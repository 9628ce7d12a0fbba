"""Accuracy on inputs with labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data import accuracy, open_source
from graphprune.data.labelled import read_labelled
from graphprune.errors import LoadError, OptionError
from graphprune.ir.trace import trace
from tests.data.helpers import MEAN, STD, net


def test_accuracy(folder: Path, program: ExportedProgram, tmp_path: Path) -> None:
    model = net().eval()
    source = gp.images(folder, mean=MEAN, std=STD)
    right = 0
    with torch.no_grad():
        for number in range(30):
            (file,) = folder.rglob(f"{number:02}.png")
            pixels = np.asarray(Image.open(file), dtype=np.float64) / 255
            image = torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1).float()
            right += int(model(image[None]).argmax()) == number % 3
    assert accuracy(program, source) == right / 30
    fixed = torch.export.export(model, (torch.randn(4, 3, 8, 8),))
    assert accuracy(fixed, source) == right / 30
    x = torch.randn(50, 3, 8, 8)
    with torch.no_grad():
        y = model(x).argmax(1).numpy()
    np.savez(tmp_path / "val.npz", x=x.numpy(), y=y)
    assert accuracy(program, open_source(tmp_path / "val.npz")) == 1
    np.savez(tmp_path / "val.npz", x=x.numpy(), y=y + 1)
    if y.max() == 2:
        with pytest.raises(LoadError, match="3 classes, 0 to 2"):
            accuracy(program, open_source(tmp_path / "val.npz"))


def test_labels_that_are_not_there(folder: Path, program: ExportedProgram, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no folder for each class"):
        gp.images(folder / "deep" / "class0" / "sub0").labels()
    with pytest.raises(LoadError, match="folders for 2 classes, the model has 3"):
        accuracy(program, gp.images(folder / "deep" / "class0"))
    np.savez(tmp_path / "val.npz", x=np.zeros((2, 3, 8, 8)))
    with pytest.raises(LoadError, match="no integer array 'y'"):
        accuracy(program, open_source(tmp_path / "val.npz"))
    unlabelled = trace(nn.Conv2d(3, 2, 3), (torch.randn(2, 3, 8, 8),))
    with pytest.raises(OptionError, match="one output"):
        accuracy(unlabelled, gp.images(folder))


def folders(root: Path, *names: str, images: int = 2) -> Path:
    """Folders of images whose first pixel says which folder it is."""
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(images):
            pixels = np.full((8, 8, 3), place, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_images_come_with_the_class_of_their_folder(
    tmp_path: Path, program: ExportedProgram
) -> None:
    source = gp.images(folders(tmp_path, "b", "a", "c"))
    found = {round(float(x[0, 0, 0, 0]) * 255): int(y) for x, y in source.labelled(program)}
    assert found == {0: 1, 1: 0, 2: 2}


def test_classes_that_the_model_lacks(tmp_path: Path, program: ExportedProgram) -> None:
    source = gp.images(folders(tmp_path, "1", "2", "3"))
    with pytest.raises(LoadError, match="folder for class 3, the model has classes 0 to 2"):
        list(source.labelled(program))


def test_all_labelled_inputs_in_a_drawn_order(folder: Path, program: ExportedProgram) -> None:
    source = gp.images(folder, mean=MEAN, std=STD)
    found = read_labelled(program, source)
    assert found.data.samples == 30
    images, labels = (torch.cat(column) for column in zip(*found.data.batches, strict=True))
    wanted = {x.numpy().tobytes(): int(y) for x, y in source.labelled(program)}
    assert {
        x[None].numpy().tobytes(): int(y) for x, y in zip(images, labels, strict=True)
    } == wanted
    assert labels.tolist() != sorted(labels.tolist())
    assert len({*labels[-6:].tolist()}) > 1  # what is held out isn't of one class
    alone = found.inputs(20)
    assert (alone.samples, len(alone.batches[0])) == (20, 1)
    again = read_labelled(program, source)
    assert all(
        torch.equal(a[0], b[0]) for a, b in zip(found.data.batches, again.data.batches, strict=True)
    )
    fixed = torch.export.export(net().eval(), (torch.randn(4, 3, 8, 8),))
    assert {len(labels) for _, labels in read_labelled(fixed, source).data.batches} == {4}
    with pytest.raises(LoadError, match="too few"):
        read_labelled(torch.export.export(net().eval(), (torch.randn(16, 3, 8, 8),)), source)


@dataclass(frozen=True)
class Pairs:
    """Labelled inputs from memory, unchecked."""

    items: tuple[Any, ...]

    def calibration(self, program: ExportedProgram, samples: int) -> Any:
        """Have no unlabelled inputs."""
        raise NotImplementedError

    def labelled(self, program: ExportedProgram) -> Any:
        """Give the items."""
        return iter(self.items)


IMAGES = torch.zeros(40, 3, 8, 8)
CLASSES = torch.arange(40) % 3


@pytest.mark.parametrize("labels", [
    torch.nn.functional.one_hot(CLASSES), CLASSES[:1], CLASSES[:39], CLASSES.float(), CLASSES[0]
])  # fmt: skip
def test_there_is_one_whole_number_for_each_sample(program: ExportedProgram, labels: Any) -> None:
    """Compared with classes, others would broadcast, or be cut off."""
    for read in (accuracy, read_labelled):
        with pytest.raises(LoadError, match="one integer as the label of each of 40 samples"):
            read(program, Pairs(((IMAGES, labels),)))


def test_as_many_inputs_as_the_model_takes(program: ExportedProgram) -> None:
    for item in ((IMAGES, IMAGES, CLASSES), (CLASSES,), (torch.tensor(1.0), CLASSES)):
        for read in (accuracy, read_labelled):
            with pytest.raises(LoadError, match="the model takes 1 tensors"):
                read(program, Pairs((item,)))


@pytest.mark.parametrize("inputs", [IMAGES.double(), IMAGES[:, :1], IMAGES[..., :2]])
def test_inputs_that_the_model_cant_run_on(program: ExportedProgram, inputs: torch.Tensor) -> None:
    with pytest.raises(LoadError, match="can't run on the labelled inputs"):
        accuracy(program, Pairs(((inputs, CLASSES),)))
    with pytest.raises(LoadError, match="is expected"):
        read_labelled(program, Pairs(((inputs, CLASSES),)))


def test_labelled_batches_can_be_divided_where_the_program_takes_any(
    program: ExportedProgram,
) -> None:
    found = read_labelled(program, Pairs(((IMAGES, CLASSES),))).inputs(40)
    assert found.few(10).samples == 10
    fixed = torch.export.export(net().eval(), (torch.randn(4, 3, 8, 8),))
    alone = read_labelled(fixed, Pairs(((IMAGES, CLASSES),))).inputs(40)
    assert {len(batch[0]) for batch in alone.few(10).batches} == {4}
