"""Changed inputs: the same for one seed, and of the same kind as what goes in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import OptionError
from graphprune.passes.recover.augment import AUGMENTATIONS, augment, check_names


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(samples: int = 6, side: int = 16) -> torch.Tensor:
    return torch.arange(float(samples * 3 * side * side)).view(samples, 3, side, side)


@given(st.sets(st.sampled_from(sorted(AUGMENTATIONS))), st.integers(0, 99), st.integers(1, 4))
def test_a_change_is_the_seeds_and_keeps_the_kind(names: set[str], seed: int, samples: int) -> None:
    x = images(samples)
    before = x.clone()
    (one,), (two,) = (augment(tuple(names), [x], seeded(seed)) for _ in range(2))
    assert torch.equal(one, two)
    assert (one.shape, one.dtype) == (x.shape, x.dtype)
    assert one.min() >= x.min()
    assert one.max() <= x.max()
    assert torch.equal(x, before)


def test_without_names_nothing_changes() -> None:
    x, other = images(), object()
    found = augment((), [x, other], seeded())
    assert found[0] is x
    assert found[1] is other


def test_each_image_is_mirrored_or_not() -> None:
    x = images(40)
    (found,) = augment(("flip",), [x], seeded())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(found, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(found, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 40


def test_a_crop_is_a_part_moved_by_an_eighth_at_most() -> None:
    rows = torch.arange(16.0).view(1, 1, 16, 1).expand(40, 3, 16, 16)
    (found,) = augment(("crop",), [rows], seeded())
    offsets = {int(image[0, 8, 0]) - 8 for image in found}
    assert min(offsets) >= -2
    assert max(offsets) <= 2
    assert len(offsets) > 2
    assert all((image == image[:, :, :1]).all() for image in found)


def test_a_mixture_lies_between_two_samples() -> None:
    x = torch.eye(5)
    (found,) = augment(("mix",), [x], seeded())
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    assert ((found > 0).sum(1) <= 2).all()


FLOATS, IMAGES, WORDS = torch.zeros(2, 3), torch.zeros(2, 3, 8, 8), torch.zeros(2, 3).long()


@pytest.mark.parametrize(
    ("names", "inputs", "says"),
    [
        (("blur",), [IMAGES], "no augmentation 'blur'"),
        (("flip",), [FLOATS], "images"),
        (("crop",), [FLOATS], "images"),
        (("mix",), [WORDS], "samples of floats"),
        (("mix",), [FLOATS, FLOATS], "one input"),
        (("mix", "flip"), [FLOATS], "images"),
        (("mix",), [3.0], "samples of floats"),
        (("mix",), [], "one input"),
    ],
)
def test_what_does_not_fit_is_refused(names: tuple[str, ...], inputs: list[Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        check_names(names, inputs)


def test_what_fits_is_let_through() -> None:
    check_names(("crop", "flip", "mix"), [IMAGES])
    check_names(("mix",), [FLOATS])
    check_names((), [WORDS, WORDS])
