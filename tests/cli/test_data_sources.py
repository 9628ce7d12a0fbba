"""Where a command reads its data from."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import graphprune as gp
from graphprune.cli import data_sources
from graphprune.cli.data_sources import Preparation
from graphprune.errors import OptionError
from graphprune.loading import Loaded
from graphprune.loading.image_preparation import ImagePreparation


def test_images_are_described_for_either_kind_of_data(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "image.png")
    found = data_sources.sources(
        str(tmp_path), str(tmp_path), Preparation("0.5", "0.2,0.2,0.2", "8"), 7, 3
    )
    assert {*found} == {"calibration", "val", "samples"}
    assert found["samples"] == 7


@pytest.mark.parametrize(
    ("preparation", "samples", "seed", "needed"),
    [
        (Preparation(size="8"), 1024, 0, "need --data, --val or --train"),
        (Preparation(), 1024, 3, "need --data, --val or --train"),
        (Preparation(), 7, 0, "--samples needs --data or --train"),
    ],
)
def test_what_is_for_data_needs_them(
    preparation: Preparation, samples: int, seed: int, needed: str
) -> None:
    assert data_sources.sources("", "", Preparation(), 1024, 0) == {}
    with pytest.raises(OptionError, match=needed):
        data_sources.sources("", "", preparation, samples, seed)


@pytest.mark.parametrize("text", ["inf", "nan", "1e400", "224.5", "0", "-8", "8,8,8", "8x8", ","])
def test_sizes_of_images_are_whole_numbers(text: str) -> None:
    with pytest.raises(OptionError, match="--image-size"):
        Preparation(size=text).values()
    assert Preparation(size="8").values()["size"] == (8, 8)
    assert Preparation(size="8,9").values()["size"] == (8, 9)


@pytest.mark.parametrize("text", ["0.5;0.4", "0.5,", "a"])
def test_mean_and_deviation_are_numbers(text: str) -> None:
    for option in ("mean", "std"):
        with pytest.raises(OptionError, match=f"can't read --{option}"):
            Preparation(**{option: text}).values()
    assert Preparation(mean="0.5,0.4,-0.3").values()["mean"] == (0.5, 0.4, -0.3)


def test_images_are_prepared_as_a_file_beside_the_model_says(tmp_path: Path) -> None:
    said = ImagePreparation("a file", (0.5,), (0.25,))
    data = {
        "calibration": gp.images(tmp_path),
        "val": gp.images(tmp_path, mean=(0.1,)),
        "samples": 8,
    }
    found = data_sources.as_the_model_says(data, Loaded(preparation=said))
    assert found["calibration"].suggested is said
    assert found["val"] == gp.images(tmp_path, mean=(0.1,)).prepared(said)
    assert found["samples"] == 8
    assert data_sources.as_the_model_says(data, Loaded())["calibration"] == data["calibration"]
