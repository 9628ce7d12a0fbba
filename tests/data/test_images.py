"""Images in: pixels, sizes and channels, files that can't be read, bounds."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.data import open_source
from graphprune.data.files import MAX_BYTES
from graphprune.errors import LoadError, OptionError
from graphprune.ir.trace import trace
from graphprune.loading.image_preparation import ImagePreparation
from tests.data.helpers import MEAN, STD, joined, zipped


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


@pytest.mark.parametrize(("crop", "inside"), [(0.5, 1.0), (0.75, 4 / 9), (1.0, 1 / 4)])
def test_a_crop_takes_that_share_of_either_side(
    tmp_path: Path, program: ExportedProgram, crop: float, inside: float
) -> None:
    pixels = np.zeros((96, 96, 3), dtype=np.uint8)
    pixels[24:72, 24:72] = 255  # the middle half of either side
    Image.fromarray(pixels).save(tmp_path / "square.png")
    source = gp.images(tmp_path, crop=crop, interpolation="box")
    assert float(joined(source.calibration(program, 1)).mean()) == pytest.approx(inside, abs=0.01)


def test_a_crop_is_a_resize_before_it(tmp_path: Path, program: ExportedProgram) -> None:
    """Of an image of the enlarged size, only the middle is left, pixel by pixel."""
    pixels = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    for name in ("bilinear", "bicubic", "lanczos"):
        data = joined(gp.images(tmp_path, crop=0.5, interpolation=name).calibration(program, 1))
        expected = torch.from_numpy(pixels[4:12, 8:16]).permute(2, 0, 1).float() / 255
        torch.testing.assert_close(data[0], expected)


def test_the_interpolation_is_pillows(tmp_path: Path, program: ExportedProgram) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    for name in ("bilinear", "bicubic", "lanczos", "nearest"):
        found = joined(gp.images(tmp_path, interpolation=name).calibration(program, 1))[0]
        scaled = Image.fromarray(pixels).resize((8, 8), Image.Resampling[name.upper()])
        expected = torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float() / 255
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"crop": 0.0}, "crop must be above 0"),
        ({"crop": 1.5}, "at most 1, not 1.5"),
        ({"interpolation": "cubic"}, "no interpolation 'cubic'"),
        ({"interpolation": ""}, "no interpolation ''"),
    ],
)
def test_a_preparation_that_makes_no_sense(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        gp.images(tmp_path, **options)


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


def test_files_come_with_their_names(tmp_path: Path, program: ExportedProgram) -> None:
    for name, grey in (("b.png", 51), ("a.png", 102)):
        Image.new("L", (8, 8), grey).save(tmp_path / name)
    (tmp_path / "broken.png").touch()
    found = {Path(name).name: float(x.mean()) for name, x in gp.images(tmp_path).named(program)}
    assert found == pytest.approx({"a.png": 0.4, "b.png": 0.2})


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


def test_images_fit_images_only() -> None:
    words = trace(nn.Linear(3, 4), (torch.randn(2, 3),))
    with pytest.raises(LoadError, match=r"the model takes \[2, 3\]"):
        gp.images(Path(__file__).parent, size=8)._read([], words, []).__next__()


def test_options_of_images(folder: Path, program: ExportedProgram) -> None:
    with pytest.raises(OptionError, match="std"):
        gp.images(folder, std=(1, 0, 1))
    for odd in (math.nan, math.inf):
        for name in ("mean", "std"):
            with pytest.raises(OptionError, match="finite"):
                gp.images(folder, **{name: (0.5, odd)})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="2 values"):
        gp.images(folder, mean=(1, 2)).calibration(program, 1)
    assert "no mean and std given" in gp.images(folder).calibration(program, 1).notes[0]
    with pytest.raises(OptionError, match="for images"):
        open_source("x.npz", mean=(1,))


def noise(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")


SAID = ImagePreparation("the model", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0.5, "bicubic")


def test_images_are_prepared_as_the_model_says(tmp_path: Path, program: ExportedProgram) -> None:
    noise(tmp_path)
    said = {"mean": SAID.mean, "std": SAID.std, "crop": 0.5, "interpolation": "bicubic"}
    expected = joined(gp.images(tmp_path, **said).calibration(program, 1))
    found = gp.images(tmp_path).prepared(SAID).calibration(program, 1)
    assert torch.equal(joined(found), expected)
    assert found.notes == (
        f"images of {tmp_path.name} are prepared as the model says: {SAID.told()}",
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mean": (0.1,)}, "crop 0.5, bicubic"),
        ({"crop": 1.0}, "mean 0.5,0.5,0.5, std 0.25,0.25,0.25, bicubic"),
        ({"interpolation": "box"}, "mean 0.5,0.5,0.5, std 0.25,0.25,0.25, crop 0.5"),
    ],
)
def test_what_is_given_goes_before_what_the_model_says(
    tmp_path: Path, program: ExportedProgram, given: dict[str, Any], told: str
) -> None:
    noise(tmp_path)
    source = gp.images(tmp_path, **given)
    found = source.prepared(SAID).prepared(None).calibration(program, 1)
    assert found.notes[0].endswith(f"says: {told}")
    if "mean" in given:
        plain = gp.images(tmp_path, mean=(0.1,), crop=0.5, interpolation="bicubic")
        assert torch.equal(joined(found), joined(plain.calibration(program, 1)))


def test_a_mean_for_other_channels_isnt_taken(tmp_path: Path, program: ExportedProgram) -> None:
    noise(tmp_path)
    found = gp.images(tmp_path).prepared(replace(SAID, mean=(0.5, 0.5), std=(1.0, 1.0)))
    notes = found.calibration(program, 1).notes
    assert notes[0].endswith("says: crop 0.5, bicubic")
    assert "no mean and std given" in notes[1]
