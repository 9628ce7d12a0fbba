"""TorchScript: code, which is asked for, and what of it can be captured."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.errors import LoadError, TraceError
from graphprune.ir.trace import trace
from graphprune.loading import load
from graphprune.loading.torchscript import load_script
from tests import nets
from tests.loading.helpers import SHAPE


def test_torchscript_is_code(mark: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nets.NormedResidual()), tmp_path / "model.pt")
    with pytest.raises(LoadError, match="TorchScript, and reading it may run code"):
        load(tmp_path / "model.pt", inputs=SHAPE)
    assert load(tmp_path / "model.pt", inputs=SHAPE, trust_pickle=True).program is not None


class Busy(nn.Module):
    """Loops, branches on sizes, arithmetic, a part that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.register_buffer("gain", torch.full((6,), 2.0))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(3):
            x = self.a(x).relu()
        if x.dim() == 2 and x.size(1) > 4:
            x = x * self.gain
        parts = x.chunk(2, 1)
        return self.b(torch.cat([parts[1], parts[0]], 1)), y[:, : x.size(1) // 2].pow(2)


class Counting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        while x.sum() > 0:
            x = x - 1
        return x


def stored(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net.eval()), path)
    return path


def test_a_script_computes_what_the_module_does_under_the_same_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, args = Busy(), (torch.randn(2, 6), torch.randn(2, 9))
    script = load_script(stored(net, tmp_path / "a.pt"))
    for found in (script(*args), trace(script, args).module()(*args)):
        for got, expected in zip(found, net(*args), strict=True):
            torch.testing.assert_close(got, expected)
    assert script.state_dict().keys() == net.state_dict().keys()
    assert script.get_parameter("a.weight") is script.get_parameter("b.weight")
    assert list(inspect.signature(script.forward).parameters) == ["x", "y"]
    with pytest.raises(LoadError, match="takes 2 inputs, not 1"):
        script(args[0])


@pytest.mark.parametrize(("category", "text"), [
    (DeprecationWarning, "`torch.jit.load` is deprecated."),
    (FutureWarning, "`torch.jit.load` is deprecated. Please switch to `torch.export`."),
    (FutureWarning, "`torch.jit.load` is not supported in Python 3.14+ and may break."),
])  # fmt: skip
def test_users_are_not_warned_of_how_it_is_read(
    category: type[Warning], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = stored(Counting(), tmp_path / "a.pt"), torch.jit.load

    def load_and_warn(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, category, stacklevel=2)
        return read(*args, **kwargs)

    monkeypatch.setattr(torch.jit, "load", load_and_warn)
    assert float(load_script(path)(torch.tensor([0.5]))) == -0.5


def test_a_loop_over_the_data_cannot_be_captured(tmp_path: Path) -> None:
    script = load_script(stored(Counting(), tmp_path / "a.pt"))
    assert float(script(torch.tensor([2.5]))) == -0.5
    with pytest.raises(TraceError, match="can't capture Script"):
        trace(script, (torch.ones(1),))


def test_what_is_no_archive_of_torchscript(tmp_path: Path) -> None:
    for content in (b"", b"text", b"PK\x03\x04" + bytes(99)):
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(LoadError, match=r"a\.pt is not readable TorchScript"):
            load_script(tmp_path / "a.pt")
