"""Models become programs: the batch stays open, the model as it was, errors name a line."""

from __future__ import annotations

import copy
import logging
from contextlib import suppress
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from graphprune.errors import LoadError, TraceError
from graphprune.ir.program import dynamic_dims, lift, unlift
from graphprune.ir.relift import relift
from graphprune.ir.trace import evaluation_mode, silence_torch, trace, user_line
from tests import nets


def test_a_single_sample_stands_for_any_batch() -> None:
    program = trace(nn.Linear(4, 2), (torch.randn(1, 4),))
    ((axis,),) = dynamic_dims(program).values()
    assert axis == 0
    assert program.module()(torch.randn(5, 4)).shape == (5, 2)


def test_a_batch_that_is_baked_in_is_left_so() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(3, 4) * torch.ones(3, 1)

    x = torch.randn(3, 4)
    assert dynamic_dims(trace(Fixed(), (x,))) == {}
    assert dynamic_dims(trace(nn.Linear(4, 2), (x,), dynamic_batch=False)) == {}


def test_inputs_by_name_share_the_batch() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, *, other: Tensor, factor: float) -> Tensor:
            return (x + other) * factor

    named = {"factor": 2.0, "other": torch.randn(2, 4)}  # in another order than the signature's
    program = trace(Two(), (torch.randn(2, 4),), named)
    for each in (program, relift(unlift(program), program)):
        dims = dynamic_dims(each)
        assert len(dims) == 2
        assert len({sizes[0] for sizes in dims.values()}) == 1


@dataclass
class Pair:
    left: Tensor
    right: Tensor


class Swap(nn.Module):
    def forward(self, pair: Pair, *, more: Pair | None = None) -> Pair:
        extra = 0 if more is None else more.left
        return Pair(pair.right + 1, pair.left + extra)


@pytest.mark.parametrize("named", [False, True])
def test_dataclasses_go_in_and_out_with_any_batch(named: bool) -> None:
    def pair(size: int) -> Pair:
        return Pair(torch.zeros(size, 3), torch.ones(size, 4))

    kwargs = {"more": pair(2)} if named else {}
    program = trace(Swap(), (pair(2),), kwargs)
    for each in (program, relift(unlift(program), program), lift(unlift(program))):
        found = each.module()(pair(5), **({"more": pair(5)} if named else {}))
        assert (found.left.shape, found.right.shape) == ((5, 4), (5, 3))
        assert float(found.left.sum()) == 40


def test_the_model_keeps_its_modes_and_values() -> None:
    net = nets.NormedResidual()
    net.train()
    next(net.children()).eval()
    modes = [module.training for module in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trace(net, net.inputs())
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    with suppress(ZeroDivisionError), evaluation_mode(net):
        assert not net.training
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == modes


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x


def test_what_cannot_be_captured_names_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TraceError, match="can't capture Branching") as failure:
        trace(Branching(), (torch.randn(2, 3),))
    assert failure.value.where.startswith("test_trace.py:")
    assert "data-dependent control flow" in failure.value.hint
    assert capfd.readouterr().err == ""


def test_inputs_that_do_not_fit_are_named_by_their_shapes() -> None:
    with pytest.raises(LoadError, match=r"inputs of shape \(2, 3\)") as failure:
        trace(nn.Linear(4, 2), (torch.randn(2, 3),))
    assert failure.value.options == ("input",)


def test_quiet_puts_back_what_it_changed() -> None:
    names = ("torch.export", "torch.fx", "torch._dynamo")
    before = [logging.getLogger(name).level for name in names]
    with suppress(ZeroDivisionError), silence_torch():
        assert all(logging.getLogger(name).level == logging.CRITICAL for name in names)
        raise ZeroDivisionError
    assert [logging.getLogger(name).level for name in names] == before


def test_an_error_without_a_place_has_no_line() -> None:
    assert user_line(None) == ""
    assert user_line(ValueError()) == ""


def test_a_model_wrapped_for_training_is_taken_out() -> None:
    program = trace(nn.DataParallel(nn.Linear(4, 2)), (torch.randn(2, 4),))
    assert list(program.state_dict) == ["weight", "bias"]


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


@pytest.mark.parametrize("named", ["module", "parameter"])
def test_a_name_that_is_a_word_of_python_is_named(named: str) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleDict({"in": nn.Linear(4, 4)})

        def forward(self, x: Tensor) -> Tensor:
            return self.branches["in"](x)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_parameter("lambda", nn.Parameter(torch.ones(4)))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.get_parameter("lambda")

    model = Branches() if named == "module" else Scaled()
    with pytest.raises(
        TraceError, match=f"the {named} '(branches.in|lambda)' has a word of Python"
    ):
        trace(model, (torch.randn(2, 4),))


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
