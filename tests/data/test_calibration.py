"""Batches made of whatever is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.export import ExportedProgram

from graphprune.data import calibrate
from graphprune.data.calibration import Calibration, batch_size, gather
from graphprune.errors import LoadError, OptionError
from graphprune.ir.trace import trace
from tests.data.helpers import joined, net


def test_iterables_of_odd_pieces(program: ExportedProgram) -> None:
    def pieces() -> Iterator[torch.Tensor]:
        for number, size in enumerate((1, 200, 3, 70, 10)):
            yield torch.full((size, 3, 8, 8), float(number))

    data = gather(pieces(), program, samples=280)
    assert [len(batch[0]) for batch in data.batches] == [28] * 10
    values = joined(data)[:, 0, 0, 0]
    assert values.tolist() == [0.0] + [1.0] * 200 + [2.0] * 3 + [3.0] * 70 + [4.0] * 6
    # No batch keeps the whole alive.
    assert all(batch[0].untyped_storage().nbytes() == batch[0].nbytes for batch in data.batches)
    again = calibrate(data, program, 5)
    assert torch.equal(joined(again), joined(data))
    assert calibrate(Calibration(data.batches), program, 5).divisible
    assert calibrate(torch.zeros(4, 3, 8, 8), program, 3).samples == 3
    with pytest.raises(LoadError, match="empty"):
        calibrate([], program, 3)
    with pytest.raises(OptionError, match="samples"):
        calibrate([torch.zeros(1, 3, 8, 8)], program, 0)


@pytest.mark.parametrize(("channels", "size"), [(8, 64), (64, 16), (4096, 1)])
def test_a_batch_is_smaller_where_values_inside_are_large(channels: int, size: int) -> None:
    inner = torch.nn.Conv2d(3, channels, 3, padding=1)
    large = torch.nn.Sequential(inner, torch.nn.Conv2d(channels, 1, 3))
    program = trace(large, (torch.zeros(2, 3, 128, 128),))
    assert batch_size(program) == size  # the inner value takes 64 KiB for each channel
    data = gather([torch.zeros(100, 3, 128, 128)], program)
    assert max(len(batch[0]) for batch in data.batches) == min(size, 10)


def test_a_program_of_one_batch_size() -> None:
    fixed = torch.export.export(net(), (torch.randn(4, 3, 8, 8),))
    data = gather([torch.randn(10, 3, 8, 8)], fixed)
    assert [len(batch[0]) for batch in data.batches] == [4, 4]
    with pytest.raises(LoadError, match="batches of 4"):
        gather([torch.randn(3, 3, 8, 8)], fixed)


@pytest.mark.parametrize(
    ("count", "share", "aside"), [(10, 0.2, 2), (10, 0.0, 1), (3, 0.5, 2), (2, 0.5, 1), (1, 0.5, 1)]
)
def test_the_last_batches_are_kept_aside(count: int, share: float, aside: int) -> None:
    data = Calibration(tuple((torch.zeros(1),) for _ in range(count)))
    fitted, kept = data.split(share)
    assert kept == tuple(range(count))[-aside:]
    assert fitted == (tuple(range(count))[:-aside] if count > 1 else kept)


@pytest.mark.parametrize(("total", "asked", "have"), [(1000, 48, 50), (100, 48, 50), (30, 48, 30)])
def test_few_samples_come_from_all_over(total: int, asked: int, have: int) -> None:
    program = trace(torch.nn.Linear(1, 2), (torch.zeros(2, 1),))
    data = gather([torch.arange(float(total))[:, None]], program, samples=total)
    few = data.few(asked)
    assert few.samples == have
    taken = torch.cat([batch[0] for batch in few.batches]).flatten()
    assert len(taken.unique()) == have
    assert taken.min() < total / 5
    assert taken.max() > total * 4 / 5


def test_few_samples_of_batches_that_stay_whole() -> None:
    data = Calibration(tuple((torch.full((8, 1), float(i)),) for i in range(20)))
    assert [float(batch[0][0]) for batch in data.few(30).batches] == [0, 6, 13, 19]
    assert [float(batch[0][0]) for batch in data.few(3).batches] == [0, 19]
    assert data.few(160) is data
