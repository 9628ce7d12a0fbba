"""Corruptions of labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphprune.data import accuracy, open_source, robustness
from graphprune.data.corruptions import CORRUPTIONS, Corrupted, takes_images
from graphprune.ir.trace import trace
from graphprune.models import digits

IMAGES = torch.randn(5, 3, 12, 9, generator=torch.Generator().manual_seed(0))
UNIT = torch.tensor([1.0, 0.5, 2.0])[:, None, None]


def random() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_are_changed_in_a_way_that_doesn_t_depend_on_their_scale(name: str) -> None:
    corrupt = CORRUPTIONS[name]
    changed = corrupt(IMAGES, UNIT, random())
    assert changed.shape == IMAGES.shape
    assert not torch.allclose(changed, IMAGES, atol=0.05)
    scaled = corrupt(3 * IMAGES + 7, 3 * UNIT, random())
    assert torch.allclose(scaled, 3 * changed + 7, atol=1e-4)


@pytest.mark.parametrize("name", ["blur", "contrast", "pixelate"])
def test_even_images_stay_as_they_are(name: str) -> None:
    even = torch.full((2, 1, 7, 8), 0.3)
    assert torch.allclose(CORRUPTIONS[name](even, UNIT[:1], random()), even, atol=1e-6)


def test_pixels_become_blocks_with_their_mean() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert CORRUPTIONS["pixelate"](image, UNIT[:1], random())[0, 0].tolist() == [
        [2, 2, 3.5],
        [2, 2, 3.5],
        [6.5, 6.5, 8],
    ]


@dataclass(frozen=True)
class Pairs:
    """Two inputs, one of them an image, in pieces of odd sizes."""

    def calibration(self, program: Any, samples: int) -> Any:
        raise NotImplementedError

    def labelled(self, program: Any) -> Iterator[tuple[Any, ...]]:
        for piece in IMAGES.split(2):
            yield piece, torch.zeros(len(piece), 4), torch.zeros(len(piece), dtype=torch.int64)


def test_only_images_are_corrupted_and_each_reading_is_the_same() -> None:
    source = Corrupted(Pairs(), CORRUPTIONS["noise"])
    first, again = ([*source.labelled(None)] for _ in range(2))  # type: ignore[arg-type]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    images = torch.cat([item[0] for item in first])
    assert not torch.allclose(images, IMAGES, atol=0.05)
    assert all(bool((item[1] == 0).all()) for item in first)


def test_a_trained_network_answers_worse(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    held_out = digits.load_data()[1]
    np.savez(tmp_path / "val.npz", x=held_out.images.numpy(), y=held_out.labels.numpy())
    model = digits.build().eval()
    model.load_state_dict(torch.load(digits.CHECKPOINT, weights_only=True))
    program, source = trace(model, digits.example_inputs()), open_source(tmp_path / "val.npz")
    assert takes_images(program)
    found = robustness(program, source)
    assert list(found) == list(CORRUPTIONS)
    clean = accuracy(program, source)
    assert clean > 0.95
    assert all(0.2 < value < clean for value in found.values())


def test_models_that_take_no_images_have_no_corruptions() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    program = trace(Rows(), (torch.randn(2, 4),))
    assert robustness(program, Pairs()) == {}
