"""Slices of tensors, and the way back."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, Labels, unlabelled
from graphprune.cut.slice_tensors import slice_tensors, spread_tensors

ROWS, COLUMNS = 5, 4


def choice(rows: list[bool], columns: list[bool]) -> tuple[tuple[Axis, Axis], Kept]:
    """Two axes, and which of their rows stay."""
    labels = Labels()
    layout = labels.fresh(len(rows)), labels.fresh(len(columns))
    return layout, Kept(labels, np.array([True, *rows, *columns]))


masks = st.tuples(
    st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
    st.lists(st.booleans(), min_size=COLUMNS, max_size=COLUMNS),
)


@given(masks)
def test_a_slice_spread_out_again_is_the_tensor_it_was_cut_from(
    mask: tuple[list[bool], list[bool]],
) -> None:
    layout, kept = choice(*mask)
    tensors = {"w": torch.arange(1.0, 1 + ROWS * COLUMNS).view(ROWS, COLUMNS)}
    axes = {"w": layout}
    small = slice_tensors(tensors, axes, kept).get("w", tensors["w"])
    assert small.tolist() == [
        [value for value, stays in zip(row, mask[1], strict=True) if stays]
        for row, stays in zip(tensors["w"].tolist(), mask[0], strict=True)
        if stays
    ]
    assert torch.equal(spread_tensors(tensors, axes, kept, {"w": small})["w"], tensors["w"])


def test_new_values_take_the_places_that_are_kept() -> None:
    layout, kept = choice([True, False], [False, True, True])
    dense = {"w": torch.zeros(2, 3)}
    spread = spread_tensors(dense, {"w": layout}, kept, {"w": torch.tensor([[7.0, 8.0]])})
    assert spread["w"].tolist() == [[0, 7, 8], [0, 0, 0]]
    assert dense["w"].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_only_what_shrinks_is_returned() -> None:
    layout, kept = choice([True, False], [True, True, True])
    tensors = {"w": torch.ones(2, 3), "whole": torch.ones(3), "spatial": torch.ones(2)}
    axes = {"w": layout, "whole": layout[1:], "spatial": (unlabelled(2),)}
    assert slice_tensors(tensors, axes, kept).keys() == {"w"}


def test_a_parameter_stays_one_and_stays_as_trainable_as_it_was() -> None:
    layout, kept = choice([True, False], [True, True, False])
    trained, fixed = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3), False)
    tensors = {"trained": trained, "fixed": fixed, "buffer": torch.ones(2, 3)}
    small = slice_tensors(tensors, dict.fromkeys(tensors, layout), kept)
    assert isinstance(small["trained"], nn.Parameter)
    assert isinstance(small["fixed"], nn.Parameter)
    assert (small["trained"].requires_grad, small["fixed"].requires_grad) == (True, False)
    assert not isinstance(small["buffer"], nn.Parameter)


def test_tensors_that_are_one_object_stay_one() -> None:
    layout, kept = choice([True, False], [True, True, False])
    shared = torch.ones(2, 3)
    tensors = {"a": shared, "b": shared, "c": shared.clone()}
    axes = dict.fromkeys(tensors, layout)
    small = slice_tensors(tensors, axes, kept)
    assert small["a"] is small["b"]
    assert small["a"] is not small["c"]
    spread = spread_tensors(tensors, axes, kept, small)
    assert spread["a"] is spread["b"]


def test_values_of_other_names_or_shapes_are_left_out() -> None:
    layout, kept = choice([True, False], [True, True, False])
    dense = {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}
    values = {"a": torch.ones(2, 2), "stranger": torch.ones(1, 2)}
    assert spread_tensors(dense, dict.fromkeys(dense, layout), kept, values) == {}


def test_parameters_keep_marks_memory_format_and_whether_they_are_trained() -> None:
    """Training loops read marks such as ``_no_weight_decay`` off parameters."""
    layout, kept = choice([True, False], [True, True, False])
    weight = nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))
    weight._no_weight_decay = True
    weight.requires_grad_(False)
    axes = {"w": (*layout, unlabelled(4), unlabelled(4))}
    small = slice_tensors({"w": weight}, axes, kept)["w"]
    assert isinstance(small, nn.Parameter)
    assert small.shape == (1, 2, 4, 4)
    assert small._no_weight_decay is True
    assert not small.requires_grad
    assert small.is_contiguous(memory_format=torch.channels_last)
