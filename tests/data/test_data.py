"""Calibration data in: images, tensors, the user's code; what can't be read; bounds."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

import graphprune as gp
from graphprune.data import accuracy, calibrate, open_source
from graphprune.data.calibration import Calibration, gather
from graphprune.data.files import MAX_BYTES, list_files
from graphprune.errors import LoadError, OptionError
from graphprune.ir.trace import trace
from tests.nets import NETS

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(left) + right))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


@pytest.fixture(scope="module")
def program() -> ExportedProgram:
    return trace(net(), (torch.randn(2, 3, 8, 8),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images in three classes, all different, of 8x8 pixels."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(30):
        path = root / "deep" / f"class{number % 3}" / f"sub{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return root


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def joined(data: Calibration) -> torch.Tensor:
    return torch.cat([batch[0] for batch in data.batches])


def test_pixels_are_normalised_as_said(folder: Path, program: ExportedProgram) -> None:
    source = gp.images(folder, mean=MEAN, std=STD)
    data = source.calibration(program, 100)
    assert (data.samples, data.skipped, data.notes) == (30, 0, ())
    file = folder / "deep" / "class0" / "sub0" / "00.png"
    pixels = np.asarray(Image.open(file), dtype=np.float64) / 255
    expected = torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1).float()
    found = [torch.allclose(image, expected, atol=1e-6) for image in joined(data)]
    assert sum(found) == 1


def test_the_seed_draws_the_samples_and_a_zip_is_a_folder(
    folder: Path, program: ExportedProgram, tmp_path: Path
) -> None:
    first = joined(gp.images(folder).calibration(program, 10))
    assert len(first) == 10
    assert torch.equal(first, joined(gp.images(folder).calibration(program, 10)))
    assert not torch.equal(first, joined(gp.images(folder, seed=1).calibration(program, 10)))
    archive = zipped(folder, tmp_path / "images.zip")
    assert torch.equal(first, joined(gp.images(archive).calibration(program, 10)))
    # A larger sample begins with the smaller one.
    assert torch.equal(first, joined(gp.images(folder).calibration(program, 20))[:10])


def test_size_covers_and_crops_the_centre(tmp_path: Path, program: ExportedProgram) -> None:
    pixels = np.zeros((16, 48, 3), dtype=np.uint8)
    pixels[:, 16:32] = 200  # the centre; the sides are black
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    data = joined(gp.images(tmp_path).calibration(program, 1))
    assert data.shape == (1, 3, 8, 8)
    inside = data[..., 1:-1]  # scaling mixes in what lies just outside the crop
    assert torch.allclose(inside, torch.tensor(200 / 255), atol=0.02)
    assert data.min() > 0.5
    with pytest.raises(LoadError, match=r"\[n, 3, 8, 8\] is expected"):
        gp.images(tmp_path, size=16).calibration(program, 1)


def test_grey_and_transparent_images_become_what_the_model_takes(
    tmp_path: Path, program: ExportedProgram
) -> None:
    Image.new("L", (8, 8), 51).save(tmp_path / "grey.png")
    Image.new("RGBA", (8, 8), (51, 51, 51, 7)).save(tmp_path / "transparent.png")
    Image.new("P", (8, 8)).save(tmp_path / "palette.gif")
    data = joined(gp.images(tmp_path).calibration(program, 3))
    assert sorted(float(image.mean()) for image in data) == pytest.approx([0.0, 0.2, 0.2])
    grey = trace(nn.Conv2d(1, 2, 3), (torch.randn(2, 1, 8, 8),))
    assert joined(gp.images(tmp_path).calibration(grey, 3)).shape == (3, 1, 8, 8)


def test_unreadable_images_are_skipped_and_counted(
    folder: Path, program: ExportedProgram, tmp_path: Path
) -> None:
    good = next(folder.rglob("00.png")).read_bytes()
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not even said to be one")
    data = gp.images(tmp_path).calibration(program, 9)
    assert (data.samples, data.skipped) == (1, 3)
    (tmp_path / "good.png").unlink()
    with pytest.raises(LoadError, match=r"none of the 3 images in .* can be read \(\w+\.\w+: "):
        gp.images(tmp_path).calibration(program, 9)


def test_every_flipped_byte_gives_an_image_or_is_skipped(
    folder: Path, program: ExportedProgram, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    Image.open(next(folder.rglob("00.png"))).save(buffer, "JPEG")
    rng = np.random.default_rng(0)
    for kind, good in (
        ("png", next(folder.rglob("01.png")).read_bytes()),
        ("jpg", buffer.getvalue()),
    ):
        for number in range(150):
            broken = bytearray(good)
            broken[rng.integers(len(broken))] = rng.integers(256)
            (tmp_path / f"{number}.{kind}").write_bytes(broken)
    (tmp_path / "good.jpg").write_bytes(buffer.getvalue())
    data = gp.images(tmp_path).calibration(program, 1000)
    assert data.samples + data.skipped == 301
    assert data.skipped > 10


def test_bombs_are_refused(
    program: ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.png", bytes(MAX_BYTES + 1))
    assert (tmp_path / "bomb.zip").stat().st_size < 2**20
    with pytest.raises(LoadError, match="more than 64 MiB"):
        gp.images(tmp_path / "bomb.zip").calibration(program, 1)
    # Many pixels in few bytes: Pillow's own limit is an error here, not a warning.
    Image.new("1", (300, 300)).save(tmp_path / "many.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)
    (tmp_path / "bomb.zip").unlink()
    with pytest.raises(LoadError, match="pixels"):
        gp.images(tmp_path).calibration(program, 1)


def test_an_archive_entry_that_lies_about_its_size(
    program: ExportedProgram, folder: Path, tmp_path: Path
) -> None:
    path = zipped(folder, tmp_path / "images.zip")
    data = bytearray(path.read_bytes())
    entry = data.find(b"PK\x01\x02")
    while entry >= 0:  # the directory's sizes, all of them, become 10 bytes
        data[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
        entry = data.find(b"PK\x01\x02", entry + 1)
    path.write_bytes(data)
    with pytest.raises(LoadError, match="none of the 30 images"):
        gp.images(path).calibration(program, 1)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(99)])
def test_no_images(program: ExportedProgram, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.zip"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=r"has no images|neither a folder nor a zip"):
        gp.images(path).calibration(program, 1)
    with pytest.raises(LoadError, match="no such file"):
        open_source(tmp_path / "nowhere")


def test_links_in_circles_end(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    (tmp_path / "circle").symlink_to(tmp_path)
    assert len(list_files(tmp_path, (".png",))) == 30


def test_images_fit_images_only() -> None:
    words = trace(nn.Linear(3, 4), (torch.randn(2, 3),))
    with pytest.raises(LoadError, match=r"the model takes \[2, 3\]"):
        gp.images(Path(__file__).parent, size=8)._read([], words, []).__next__()


def test_options_of_images(folder: Path, program: ExportedProgram) -> None:
    with pytest.raises(OptionError, match="std"):
        gp.images(folder, std=(1, 0, 1))
    with pytest.raises(OptionError, match="2 values"):
        gp.images(folder, mean=(1, 2)).calibration(program, 1)
    assert "no --mean" in gp.images(folder).calibration(program, 1).notes[0]
    with pytest.raises(OptionError, match="for images"):
        open_source("x.npz", mean=(1,))


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_tensor_files(kind: str, program: ExportedProgram, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((100, 3, 8, 8))
    path = tmp_path / f"inputs.{kind}"
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez_compressed(path, inputs=x)
    else:
        from safetensors.numpy import save_file

        save_file({"inputs": x}, path)
    data = calibrate(path, program, 70)
    assert [len(batch[0]) for batch in data.batches] == [7] * 10
    assert data.source == f"70 of 100 samples in inputs.{kind}"
    rows = {row.tobytes() for row in x.astype(np.float32)}
    taken = {row.numpy().tobytes() for row in joined(data)}
    assert len(taken) == 70
    assert taken <= rows
    again = open_source(path, seed=1).calibration(program, 70)
    assert not torch.equal(joined(data), joined(again))


def test_several_inputs_go_by_their_names(tmp_path: Path) -> None:
    example = (torch.randn(2, 3), torch.randn(2, 8))
    program = trace(TwoInputs(), example)
    path = tmp_path / "inputs.npz"
    np.savez(path, right=np.full((5, 8), 2.0), left=np.full((5, 3), 1.0), other=np.zeros(1))
    batches = calibrate(path, program, 9).batches
    batch = [torch.cat(values) for values in zip(*batches, strict=True)]
    assert [(tuple(x.shape), float(x.mean())) for x in batch] == [((5, 3), 1.0), ((5, 8), 2.0)]
    np.savez(path, right=np.zeros((5, 8)), left=np.zeros((4, 3)))
    with pytest.raises(LoadError, match="different numbers of samples: 4, 5"):
        calibrate(path, program, 9)
    np.savez(path, right=np.zeros((5, 8)), centre=np.zeros((5, 3)))
    with pytest.raises(LoadError, match=r"has centre, right; the model takes left, right"):
        calibrate(path, program, 9)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_broken_tensor_files(name: str, program: ExportedProgram, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (b"", b"nonsense" * 20, b"PK\x03\x04" + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(LoadError, match=f"{name} can't be read"):
            calibrate(path, program, 1)


def test_pickled_arrays_are_not_read(program: ExportedProgram, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(LoadError, match="can't be read"):
        calibrate(path, program, 1)


def test_the_users_code(
    program: ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_data.py").write_text(
        "import torch\n"
        "def good():\n    return (torch.full((3, 3, 8, 8), float(i)) for i in range(10**9))\n"
        "def bad():\n    yield torch.zeros(1, 3, 8, 8)\n    raise ZeroDivisionError('mine')\n"
        "def pairs():\n    yield torch.zeros(2, 3, 8, 8), [0, 1]\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    data = open_source("own_data:good").calibration(program, 7)
    assert joined(data)[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2]
    with pytest.raises(LoadError, match=r"ZeroDivisionError: mine \(own_data.py:6\)"):
        open_source("own_data:bad").calibration(program, 7)
    with pytest.raises(LoadError, match="can't find"):
        open_source("own_data:nothing").calibration(program, 7)
    assert accuracy(program, open_source("own_data:pairs")) in {0.0, 0.5}
    with pytest.raises(LoadError, match="pairs"):
        accuracy(program, open_source("own_data:good"))


def test_iterables_of_odd_pieces(program: ExportedProgram) -> None:
    def pieces() -> Iterator[torch.Tensor]:
        for number, size in enumerate((1, 200, 3, 70, 10)):
            yield torch.full((size, 3, 8, 8), float(number))

    data = gather(pieces(), program, samples=280)
    assert [len(batch[0]) for batch in data.batches] == [28] * 10
    values = joined(data)[:, 0, 0, 0]
    assert values.tolist() == [0.0] + [1.0] * 200 + [2.0] * 3 + [3.0] * 70 + [4.0] * 6
    # No batch keeps the whole alive.
    assert all(batch[0].untyped_storage().nbytes() == batch[0].nbytes for batch in data.batches)
    again = calibrate(data, program, 5)
    assert torch.equal(joined(again), joined(data))
    assert calibrate(torch.zeros(4, 3, 8, 8), program, 3).samples == 3
    with pytest.raises(LoadError, match="empty"):
        calibrate([], program, 3)
    with pytest.raises(OptionError, match="samples"):
        calibrate([torch.zeros(1, 3, 8, 8)], program, 0)


def test_a_program_of_one_batch_size() -> None:
    fixed = torch.export.export(net(), (torch.randn(4, 3, 8, 8),))
    data = gather([torch.randn(10, 3, 8, 8)], fixed)
    assert [len(batch[0]) for batch in data.batches] == [4, 4]
    with pytest.raises(LoadError, match="batches of 4"):
        gather([torch.randn(3, 3, 8, 8)], fixed)


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


def test_compress_says_what_it_looked_at(folder: Path) -> None:
    model, inputs = net(), (torch.randn(2, 3, 8, 8),)
    result = gp.compress(model, inputs, flops=0.5, calibration=gp.images(folder), samples=12)
    assert result.report.calibration == {
        "source": f"12 of 30 images in {folder.name}",
        "samples": 12,
        "skipped": 0,
    }
    assert "data" in result.report.seconds
    assert any("no --mean" in note for note in result.report.notes)
    plain = gp.compress(model, inputs, flops=0.5)
    assert plain.report.calibration == {}
    assert any("without calibration data" in note for note in plain.report.notes)


@pytest.mark.parametrize("name", ["Keyword", "Mapped"])
def test_inputs_of_a_mapping_are_told_apart_by_name(name: str) -> None:
    net = NETS[name]().eval()
    program = trace(net, net.inputs(), net.keywords())
    args, kwargs = net.inputs(), net.keywords()
    given = {"x": args[0], **kwargs} if kwargs else args[0]
    wanted = pytree.tree_leaves((args, kwargs))
    for order in (list(given), list(given)[::-1]):
        (batch,) = gather([{key: given[key] for key in order}], program, samples=1).batches
        for got, value in zip(batch, wanted, strict=True):
            assert torch.equal(got, value[:1]) if isinstance(value, Tensor) else got == value
    with pytest.raises(LoadError, match="the calibration data has x, y"):
        gather([{"x": torch.zeros(2), "y": torch.zeros(2)}], program)
