from __future__ import annotations

import torch

from graphprune.ir.example_inputs import separated


def test_only_what_shares_memory_is_copied() -> None:
    x, y = torch.randn(4, 3), torch.randn(4, 3)
    a, (b, c), named = separated((x, [y, x[:2]], {"again": x, "number": 2}))
    assert a is x
    assert b is y
    assert torch.equal(c, x[:2])
    assert torch.equal(named["again"], x)
    assert named["number"] == 2
    places = {t.untyped_storage().data_ptr() for t in (a, b, c, named["again"])}
    assert len(places) == 4


def test_gradients_empty_tensors_and_shapes_without_values_stay() -> None:
    x = torch.randn(2, requires_grad=True)
    first, second = separated((x, x))
    assert second.requires_grad
    assert second.is_leaf
    empty = torch.empty(0)
    assert separated((empty, empty))[1] is empty
    meta = torch.empty(3, device="meta")
    assert separated((meta, meta))[1] is meta
    assert first is x
