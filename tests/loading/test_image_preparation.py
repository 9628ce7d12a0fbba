"""What models and folders say of their images, and what of it can be followed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graphprune.errors import LoadError
from graphprune.loading.image_preparation import FILE, brought_by, of_folder

TIMM = {
    "input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
}  # fmt: skip
VIT = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 1 / 255,
    "size": {"height": 224, "width": 224},
}  # fmt: skip


def of(folder: Path, **said: Any) -> Any:
    (folder / FILE).write_text(json.dumps({**VIT, **said}), encoding="utf-8")
    return of_folder(folder)


def test_a_model_of_timm_says_it() -> None:
    found = brought_by(SimpleNamespace(pretrained_cfg=TIMM))
    assert found is not None
    assert (found.mean, found.std) == (TIMM["mean"], TIMM["std"])
    assert (found.crop, found.interpolation) == (0.875, "bicubic")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"crop_mode": "squash"}, "mean 0.485,0.456,0.406, std 0.229,0.224,0.225, bicubic"),
        ({"interpolation": "random"}, "mean 0.485,0.456,0.406, std 0.229,0.224,0.225, crop 0.875"),
        ({"std": (0.2,)}, "crop 0.875, bicubic"),
        ({"std": (0.2, 0.0, 0.2)}, "crop 0.875, bicubic"),
        ({"mean": "0.5", "crop_pct": float("nan")}, "bicubic"),
    ],
)
def test_what_cant_be_followed_is_left_out(changed: dict[str, Any], told: str) -> None:
    found = brought_by(SimpleNamespace(pretrained_cfg={**TIMM, **changed}))
    assert found is not None
    assert found.told() == told


@pytest.mark.parametrize(
    "model", [object(), SimpleNamespace(pretrained_cfg=None), SimpleNamespace(pretrained_cfg={})]
)
def test_others_say_nothing(model: object) -> None:
    assert brought_by(model) is None


def test_a_folder_of_transformers_says_it(tmp_path: Path) -> None:
    found = of(tmp_path)
    assert found.told() == "mean 0.5,0.5,0.5, std 0.5,0.5,0.5, bilinear"
    assert found.origin == FILE


@pytest.mark.parametrize(
    ("said", "crop"),
    [
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}, 0.875),
        ({"size": 256, "do_center_crop": True, "crop_size": 224}, 0.875),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 0.875),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, None),
        ({"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 256}, None),
        ({"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224}, None),
        ({"do_resize": False, "size": 256, "do_center_crop": True, "crop_size": 224}, None),
    ],
)  # fmt: skip
def test_a_crop_is_a_share_of_the_shorter_side(
    tmp_path: Path, said: dict[str, Any], crop: float | None
) -> None:
    assert of(tmp_path, **said).crop == crop


def test_pixels_that_arent_normalised_are_0_to_1(tmp_path: Path) -> None:
    found = of(tmp_path, do_normalize=False)
    assert (found.mean, found.std) == ((0.0,), (1.0,))


@pytest.mark.parametrize("said", [{"do_rescale": False}, {"rescale_factor": 1 / 127.5}])
def test_other_ranges_of_pixels_arent_followed(tmp_path: Path, said: dict[str, Any]) -> None:
    assert of(tmp_path, **said) is None


def test_a_folder_without_the_file_says_nothing(tmp_path: Path) -> None:
    assert of_folder(tmp_path) is None
    (tmp_path / FILE).write_text("[]", encoding="utf-8")
    assert of_folder(tmp_path) is None
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    with pytest.raises(LoadError):
        of_folder(tmp_path)
