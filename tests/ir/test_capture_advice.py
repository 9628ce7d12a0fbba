"""What a model's author can do where torch.export can't capture it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from graphprune.errors import TraceError
from graphprune.ir.trace import trace


def test_weights_made_in_inference_mode_are_named() -> None:
    with torch.inference_mode():
        net = nn.Linear(3, 2)
    with pytest.raises(TraceError, match="made within torch") as failure:
        trace(net, (torch.randn(2, 3),))
    assert "copy.deepcopy(model)" in failure.value.hint
    assert trace(copy.deepcopy(net), (torch.randn(2, 3),))


def test_packed_sequences_are_named() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LSTM(4, 8, batch_first=True)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.layer(packed)[1][0][-1]

    with pytest.raises(TraceError, match="packed sequences can't be captured"):
        trace(Packed(), (torch.randn(2, 5, 4), torch.tensor([5, 3])))


class Cache:
    """Keys of earlier tokens, in a class that torch.export doesn't know."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys


class Decoder(nn.Module):
    def forward(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        keys = x if cache is None else torch.cat([cache.keys, x], 1)
        return keys.sum(1), Cache(keys)


@pytest.mark.parametrize("given", [False, True])
def test_an_object_that_is_not_opened_is_named(given: bool) -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(TraceError, match="can't capture Decoder") as failure:
        trace(Decoder(), (x, Cache(x)) if given else (x,))
    what = "takes" if given else "gives"
    assert f"{what} an object of class Cache, which torch.export doesn't open" in failure.value.hint
