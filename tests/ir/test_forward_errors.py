"""Errors of a model's own code name its line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.ir.forward_errors import user_line


def test_an_error_without_a_place_has_no_line() -> None:
    assert user_line(None) == ""
    assert user_line(ValueError()) == ""


def test_the_innermost_line_outside_torch_counts() -> None:
    with pytest.raises(RuntimeError) as failure:
        nn.Linear(4, 2)(torch.randn(2, 3))
    assert user_line(failure.value).startswith("test_forward_errors.py:")
