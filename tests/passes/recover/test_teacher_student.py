"""The values in which a dense network and a smaller one are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.data.calibration import gather
from graphprune.errors import OptionError
from graphprune.ir.program import state as tensors_of
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes import Distil, Effort
from graphprune.passes.recover import teacher_student as pairs
from graphprune.passes.recover import training
from graphprune.passes.recover.distance import Distance, moment_sums
from graphprune.passes.recover.optimizers import optimizers
from graphprune.passes.recover.teacher_student import Pair, Teacher
from graphprune.pipeline import State
from graphprune.plan.budget import Budget
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options
from tests.nets import NETS

IMAGES = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Two blocks around a shortcut; rectified in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = nn.functional.relu(self.norm(self.stem(x)), inplace=True)
        x = nn.functional.relu(x + self.b(self.a(x).relu()))
        y = self.head(x.mean((2, 3)))
        return y, y.argmax(1)


def cut(
    net: nn.Module | ExportedProgram, inputs: tuple[Any, ...], flops: float, data: Sequence[Any]
) -> tuple[ExportedProgram, State]:
    """The dense program, and the state after cutting and repairing it."""
    job = Job.begin(net, inputs, None, data, 64, Options(), None)
    return job.scored.program, job.cut(job.decide(Options().allocator(Budget.flops(flops))))


@pytest.fixture(scope="module")
def residual() -> tuple[ExportedProgram, State]:
    torch.manual_seed(0)
    return cut(Residual().eval(), (IMAGES,), 0.5, [(torch.randn(32, 3, 6, 6),)])


def values(pair: Pair, *inputs: Any) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    with torch.no_grad():
        (_, dense), (outputs, small) = pair.wanted(inputs), pair.small(*inputs)
    return outputs, dense, small


def error(got: list[Tensor], wanted: list[Tensor]) -> float:
    return float(Distance.of([moment_sums(wanted)]).between(got, wanted)) if wanted else 0.0


def test_values_are_where_layers_aim(residual: tuple[ExportedProgram, State]) -> None:
    dense, small = residual
    pair = Pair.of(dense, small)
    outputs, wanted, got = values(pair, IMAGES)
    # ReLUs behind the BatchNorm, a convolution, the sum; the head is an output. The classes are no floats.
    assert len(pair.inner) == 3
    assert all(float(each.min()) == 0 for each in (*wanted, *got))
    (own,) = outputs
    torch.testing.assert_close(own, small.program.module()(IMAGES)[0])
    for each, a, b in zip(pair.inner, wanted, got, strict=True):
        assert a.shape == b.shape
        assert a.shape[1] == len(each.rows)
    assert any(len(each.rows) < 8 for each in pair.inner)
    assert 0 < error(got, wanted) < math.inf


class Branches(nn.Module):
    """Two heads behind a stem, one of them two layers deep."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.short, self.long, self.longer = (
            nn.Conv2d(a, 8, 3, padding=1) for a in (3, 8, 8, 8)
        )
        self.heads = nn.ModuleList([nn.Linear(8, 2), nn.Linear(8, 2)])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x).relu()
        ends = self.longer(self.long(x).relu()).relu(), self.short(x).relu()
        return [head(end.mean((2, 3))) for head, end in zip(self.heads, ends, strict=True)]


def test_the_longest_way_to_a_value_is_its_depth() -> None:
    torch.manual_seed(0)
    pair = Pair.of(*cut(Branches().eval(), (IMAGES,), 0.5, [(torch.randn(32, 3, 6, 6),)]))
    assert [each.depth for each in pair.inner] == [1, 2, 3, 2]
    first, *_, last = pair.weights
    assert len(pair.weights) == 4
    assert first < last < max(pair.weights)


def test_training_with_other_weights_does_not_go_on_from_a_checkpoint(
    residual: tuple[ExportedProgram, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, small = residual
    torch.manual_seed(1)
    data = gather([torch.randn(16, 3, 6, 6) for _ in range(4)], dense)

    def weights(checkpoint: Path | None) -> list[Tensor]:
        distil = Distil(effort=Effort(steps=10), batch_training=False, checkpoint=checkpoint)
        program, _ = distil.run(small.knowing(Teacher(dense), data))
        return [x.detach() for x in tensors_of(unlift(program)).values()]

    def same(left: list[Tensor], right: list[Tensor]) -> bool:
        return all(map(torch.equal, left, right))

    before = weights(tmp_path / "checkpoint")
    monkeypatch.setattr(pairs, "STEEPNESS", 0)
    after = weights(tmp_path / "checkpoint")
    assert not same(after, before)
    assert same(after, weights(None))


def test_what_goes_astray_begins_anew_with_all_values_alike(
    residual: tuple[ExportedProgram, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, small = residual
    torch.manual_seed(1)
    data = gather([torch.randn(16, 3, 6, 6) for _ in range(4)], dense)

    class KilledError(Exception):
        pass

    def trained(**options: Any) -> list[Tensor]:
        progress = options.pop("progress", None)
        distil = Distil(effort=Effort(steps=30), batch_training=False, **options)
        known = replace(small.knowing(Teacher(dense), data), progress=progress)
        program, (found,) = distil.run(known)
        assert found.after < found.before
        return [x.detach() for x in tensors_of(unlift(program)).values()]

    def same(left: list[Tensor], right: list[Tensor]) -> bool:
        return all(map(torch.equal, left, right))

    monkeypatch.setattr(training, "DIVERGED", math.inf)
    plain = trained()
    monkeypatch.setattr(training, "DIVERGED", 0.0)  # whatever it does
    anew = trained()
    assert not same(anew, plain)
    news: list[str] = []

    def kill(said: str) -> None:
        news.append(said)
        if len(news) == 4:
            raise KilledError

    with pytest.raises(KilledError):
        trained(checkpoint=tmp_path / "checkpoint", progress=kill)
    assert same(trained(checkpoint=tmp_path / "checkpoint"), anew)


def test_nothing_cut_nothing_wrong() -> None:
    torch.manual_seed(0)
    dense, same = cut(Residual().eval(), (IMAGES,), 1.0, [(torch.randn(32, 3, 6, 6),)])
    pair = Pair.of(dense, same)
    _, wanted, got = values(pair, IMAGES)
    assert len(pair.inner) == 3
    assert error(got, wanted) == 0


def test_training_the_pair_leaves_both_programs_alone(
    residual: tuple[ExportedProgram, State],
) -> None:
    dense, small = residual
    before = dense.module()(IMAGES)[0], small.program.module()(IMAGES)[0]
    pair = Pair.of(dense, small)
    pair.small.train()
    outputs, inside = pair.small(IMAGES)
    sum(v.square().sum() for v in (*outputs, *inside)).backward()
    for parameter in pair.small.parameters():
        assert parameter.grad is not None
        parameter.data.add_(1)
    assert torch.equal(dense.module()(IMAGES)[0], before[0])
    assert torch.equal(small.program.module()(IMAGES)[0], before[1])


def test_without_knowing_the_cut_outputs_alone(residual: tuple[ExportedProgram, State]) -> None:
    dense, small = residual
    pair = Pair.of(dense, State(small.program))
    assert pair.inner == ()
    _, wanted, got = values(pair, IMAGES)
    assert wanted == got == []
    # Another teacher: its values inside are other ones.
    other = Residual()
    other.head = nn.Sequential(nn.ReLU(), other.head)
    assert Pair.of(trace(other.eval(), (IMAGES,)), small).inner == ()
    one = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
    with pytest.raises(OptionError, match="dense program has 1 outputs, the smaller one 2"):
        Pair.of(trace(one, (IMAGES,)), small)


@pytest.mark.parametrize("name", NETS)
def test_the_nets_of_the_tests(name: str) -> None:
    """Every value finds its partner, and every parameter can be trained, whatever the network."""
    torch.manual_seed(0)
    net = NETS[name]().eval()
    inputs, kwargs = net.inputs(), net.keywords()
    given = [{"x": inputs[0], **kwargs} if kwargs else inputs] * 4
    dense, small = cut(trace(net, inputs, kwargs), inputs, 0.7, given)
    pair = Pair.of(dense, small)
    _, wanted, got = values(pair, *pytree.tree_leaves((inputs, kwargs)))
    assert math.isfinite(error(got, wanted))
    made = optimizers(
        "muon",
        0.0,
        pair.small,
        small.program,
        [pytree.tree_leaves((inputs, kwargs))],
        alone=not pair.inner,
    )
    own = [p for each in made for group in each.param_groups for p in group["params"]]
    assert sorted(map(id, own)) == sorted(map(id, pair.small.parameters()))
    outputs, _ = pair.small(*pytree.tree_leaves((inputs, kwargs)))
    sum(x.square().mean() for x in outputs).backward()
    for each in made:
        each.step()
    assert all(bool(p.isfinite().all()) for p in own)


def test_the_channels_that_stay(residual: tuple[ExportedProgram, State]) -> None:
    """What is wanted inside are the dense values of those channels."""
    pair = Pair.of(*residual)
    with torch.no_grad():
        _, dense = pair.dense(IMAGES)
    _, wanted = pair.wanted([IMAGES])
    for each, whole, own in zip(pair.inner, dense, wanted, strict=True):
        assert torch.equal(own, whole[:, each.rows])


def test_nothing_to_train_and_nothing_to_imitate() -> None:
    x = torch.randn(2, 3)
    plain = trace(nn.Sequential(nn.ReLU()), (x,))
    with pytest.raises(OptionError, match="no parameters to train"):
        Pair.of(plain, State(plain))

    class Classes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x).argmax(1)

    classes = trace(Classes(), (x,))
    with pytest.raises(OptionError, match="no output to imitate"):
        Pair.of(classes, State(classes))
