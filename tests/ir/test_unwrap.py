"""Models in the wrappers of training, taken for what they wrap."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.ir.unwrap import full_tensor, unwrap, wrappers
from graphprune.loading import load
from tests import nets


@pytest.fixture
def alone(tmp_path: Path) -> Generator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    return nets.NETS["SqueezeExcite"]()


WRAPPED: Mapping[str, Any] = {
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": DistributedDataParallel,
    "AveragedModel": AveragedModel,
    "OptimizedModule": lambda net: torch.compile(net, backend="eager"),
    "DataParallel, OptimizedModule": lambda net: nn.DataParallel(
        torch.compile(net, backend="eager")
    ),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("names", WRAPPED)
def test_a_wrapped_model_gives_what_it_wraps(names: str, net: Any) -> None:
    wrapped = WRAPPED[names](net)
    assert ", ".join(wrappers(wrapped)) == names
    assert type(unwrap(wrapped)) is type(net)
    optimizer = torch.optim.SGD(wrapped.parameters(), 0.1)
    result = gp.compress(wrapped, net.inputs(), flops=0.5)
    assert type(result.model) is type(net)
    assert result.report.model == type(net).__name__
    taken = f"the SqueezeExcite was taken out of what wraps it: {names}"
    assert taken in result.report.notes
    assert len(gp.inspect(wrapped, net.inputs()).groups) == len(result.plan.groups)
    assert type(gp.apply(result.plan, wrapped, net.inputs())) is type(net)
    points = gp.sweep(wrapped, net.inputs(), [0.5])
    assert points[0].flops == result.report.after.macs / result.report.before.macs
    if names != "AveragedModel":  # which holds a copy
        assert unwrap(wrapped) is net
        small = [*result.model.parameters()]
        assert result.carry(optimizer).param_groups[0]["params"] == small


def test_what_is_not_wrapped_is_itself(net: Any) -> None:
    program = gp.trace(net, net.inputs())
    assert unwrap(net) is net
    assert unwrap(program) is program
    assert wrappers(net) == wrappers(program) == ()
    inner = nn.Sequential(nn.Flatten(), torch.compile(nn.Linear(4, 4), backend="eager"))
    assert unwrap(inner) is inner  # a part that is compiled is the model's own


class Plain(nn.Module):
    """``fully_shard`` makes a subclass, which must not get into the table of networks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.n = nn.Linear(6, 16), nn.Linear(16, 16), nn.BatchNorm1d(16)
        self.c, self.d = nn.Linear(16, 3), nn.Linear(16, 3)
        self.d.weight = self.c.weight

    def inputs(self) -> tuple[Any, ...]:
        return (torch.randn(4, 6),)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.n(self.b(torch.relu(self.a(x)))))
        return self.c(x) + self.d(x)


@pytest.mark.usefixtures("alone")
def test_shards_are_gathered_in_a_plain_module() -> None:
    net: Any = Plain()
    whole = Plain()
    calls: list[int] = []
    net.b.register_forward_hook(lambda *_: calls.append(1))
    mesh = init_device_mesh("cpu", (1,))
    fully_shard(net.b, mesh=mesh)
    fully_shard(net, mesh=mesh)
    optimizer = torch.optim.AdamW(net.parameters(), 0.1)
    net(*net.inputs()).sum().backward()
    optimizer.step()
    result = gp.compress(net, whole.inputs(), flops=0.5)
    assert isinstance(net, FSDPModule)
    assert type(result.model) is type(whole)
    assert result.report.eager["own_class"]
    copy.deepcopy(result.model)
    assert calls
    del calls[:]
    result.model(*whole.inputs()).sum().backward()
    assert calls == [1]  # a hook of the user's own
    carried = result.carry(optimizer)
    for group in carried.param_groups:
        for parameter in group["params"]:
            state = carried.state[parameter]
            assert type(state["exp_avg"]) is torch.Tensor
            assert state["exp_avg"].shape == parameter.shape
    carried.step()
    net(*whole.inputs())  # still sharded, and still runs
    full = {name: full_tensor(p.detach()) for name, p in net.named_parameters()}
    assert all(torch.equal(p, full[name]) for name, p in unwrap(net).named_parameters())


@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:FSDP:UserWarning")
def test_flat_shards_are_refused() -> None:
    flat = FullyShardedDataParallel(Plain(), device_id=torch.device("cpu"))
    with pytest.raises(LoadError, match="flat shards") as failure:
        gp.compress(flat, Plain().inputs(), flops=0.5)
    assert "fully_shard" in failure.value.hint
    with pytest.raises(LoadError, match="flat shards"):
        gp.inspect(nn.Sequential(flat), Plain().inputs())


def test_without_distributed_training_nothing_is_sharded(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "is_available", lambda: False)
    assert unwrap(nn.DataParallel(net)) is net
    assert full_tensor(net.a.weight) is net.a.weight


def test_a_pickled_wrapper_is_read_as_what_it_wraps(
    net: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, made in enumerate((nn.DataParallel(net), {"epoch": 3, "ema": AveragedModel(net)})):
        path = tmp_path / f"{number}.pt"
        torch.save(made, path)
        found = load(path, trust_pickle=True, inputs=["1x3x8x8"])
        assert type(found.model) is type(net)
    assert "taken out of what wraps it: DataParallel" in caplog.text
    assert "taken out of what wraps it: AveragedModel" in caplog.text
