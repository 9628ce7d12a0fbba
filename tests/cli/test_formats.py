"""Every format that comes in, by every format that goes out, through the command line.

What each file computes is compared with the original network in which the removed channels are
silenced by hand: the weights that read them are zero.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.cli.__main__ import main
from graphprune.models.randomize import randomize_batchnorm
from tests import nets

pytestmark = pytest.mark.onnx

TOLERANCE = 1e-5
"""Float32 in another order, BatchNorm folded in ONNX: 1e-6 is measured."""

ARCH = ("--arch", "tests.nets:NormedResidual")
SHAPE = ("--input", "2x3x8x8")


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    net = nets.NormedResidual()
    randomize_batchnorm(net, seed=1)
    return net.eval()


def pickled(net: nn.Module, folder: Path) -> Sequence[object]:
    torch.save(net, folder / "module.pt")
    return (folder / "module.pt", "--trust-pickle", *SHAPE)


def state_dict(net: nn.Module, folder: Path) -> Sequence[object]:
    torch.save(net.state_dict(), folder / "weights.pt")
    return (folder / "weights.pt", *ARCH, *SHAPE)


def as_safetensors(net: nn.Module, folder: Path) -> Sequence[object]:
    safetensors.torch.save_file(net.state_dict(), folder / "weights.safetensors")
    return (folder / "weights.safetensors", *ARCH, *SHAPE)


def pt2(net: nn.Module, folder: Path) -> Sequence[object]:
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(net, (torch.randn(2, 3, 8, 8),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "program.pt2")
    return (folder / "program.pt2",)


def traced(net: nn.Module, folder: Path) -> Sequence[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, torch.randn(2, 3, 8, 8)), folder / "traced.pt")
    return (folder / "traced.pt", "--trust-pickle", *SHAPE)


def scripted(net: nn.Module, folder: Path) -> Sequence[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net), folder / "scripted.pt")
    return (folder / "scripted.pt", "--trust-pickle", *SHAPE)


def onnx(net: nn.Module, folder: Path) -> Sequence[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.randn(2, 3, 8, 8),),
            folder / "net.onnx",
            verbose=False,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    return (folder / "net.onnx",)


IN = (pickled, state_dict, as_safetensors, pt2, traced, scripted, onnx)
OWN_CLASS = (pickled, state_dict, as_safetensors)


def eager_out(
    folder: Path, net: nets.Net, source: Callable[..., object]
) -> Callable[[Tensor], Tensor]:
    """``gp.load``, and in training mode as in evaluation mode a module that learns."""
    module = gp.load(folder)
    module.train()(torch.randn(4, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    return gp.load(folder).eval()


def weights_out(
    folder: Path, net: nets.Net, source: Callable[..., object]
) -> Callable[[Tensor], Tensor]:
    """State dict and plan: the user's own class, or the program where there is none."""
    weights = torch.load(folder / "model.pt", weights_only=True)
    return filled(folder, net, source, weights)


def safetensors_out(
    folder: Path, net: nets.Net, source: Callable[..., object]
) -> Callable[[Tensor], Tensor]:
    return filled(folder, net, source, safetensors.torch.load_file(folder / "model.safetensors"))


def filled(
    folder: Path, net: nets.Net, source: Callable[..., object], weights: dict[str, Tensor]
) -> Callable[[Tensor], Tensor]:
    plan = gp.Plan.from_json((folder / "plan.json").read_text())
    fresh = nets.NormedResidual()
    own = source in OWN_CLASS
    small = gp.apply(plan, fresh, net.inputs()) if own else gp.load(folder)
    assert isinstance(small, nets.NormedResidual) is own
    for tensor in small.state_dict().values():
        tensor.zero_()
    small.load_state_dict(weights)
    return small.eval()


def pt2_out(
    folder: Path, net: nets.Net, source: Callable[..., object]
) -> Callable[[Tensor], Tensor]:
    return torch.export.load(folder / "model.pt2").module()


def onnx_out(
    folder: Path, net: nets.Net, source: Callable[..., object]
) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


OUT = (eager_out, weights_out, safetensors_out, pt2_out, onnx_out)

Folders = Callable[[Callable[..., Sequence[object]]], Path]


@pytest.fixture(scope="module")
def folders(net: nets.Net, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Compresses what a format holds, once."""
    done: dict[object, Path] = {}

    def compressed(source: Callable[..., Sequence[object]]) -> Path:
        if source not in done:
            place = tmp_path_factory.mktemp("formats")
            args = (
                "compress",
                *source(copy.deepcopy(net), place),
                "--flops",
                "0.5",
                "--safetensors",
                "-o",
                place / "out",
                "-q",
            )
            assert main([str(arg) for arg in args]) == 0
            done[source] = place / "out"
        return done[source]

    return compressed


def masked(net: nets.Net, plan: gp.Plan) -> nn.Module:
    """The original, in which nothing reads the channels that the plan removes."""
    silent = copy.deepcopy(net)
    weights = dict(silent.named_parameters())
    for group in plan.groups:
        gone = sorted(set(range(group.width)) - set(group.keep))
        for axis in group.axes:
            name, dim = axis.split(":")
            if dim == "1":
                with torch.no_grad():
                    weights[name][:, gone] = 0
    return silent


@pytest.mark.parametrize("out", OUT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("source", IN, ids=lambda f: f.__name__)
def test_cell(
    net: nets.Net,
    folders: Folders,
    source: Callable[..., Sequence[object]],
    out: Callable[..., Callable[[Tensor], Tensor]],
) -> None:
    folder = folders(source)
    plan = gp.Plan.from_json((folder / "plan.json").read_text())
    assert 0 < sum(len(g.keep) for g in plan.groups) < sum(g.width for g in plan.groups)
    compute, reference = out(folder, net, source), masked(net, plan)
    generator = torch.Generator().manual_seed(3)
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 8, 8, generator=generator)
        with torch.no_grad():
            got, expected = compute(x), reference(x)
        assert got.shape == expected.shape
        error = float((got - expected).abs().max() / expected.abs().max())
        assert error <= TOLERANCE
        with torch.no_grad():
            assert not np.allclose(got, net(x), atol=1e-3)


@pytest.mark.parametrize("source", IN, ids=lambda f: f.__name__)
def test_the_output_of_each_format_is_verified_and_replayed(
    net: nets.Net,
    folders: Folders,
    source: Callable[..., Sequence[object]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = folders(source)
    args = [str(arg) for arg in source(copy.deepcopy(net), tmp_path)]
    capsys.readouterr()
    assert main(["verify", *args, str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [check["file"] for check in document["checks"]] == ["model.pt2", "model.onnx"]
    again = ["--plan", str(folder / "plan.json"), "--no-onnx", "--dry-run", "--json"]
    assert main(["compress", *args, *again]) == 0


def test_tied_weights_go_through_safetensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tied = nets.TiedWeights().eval()
    safetensors.torch.save_model(tied, tmp_path / "tied.safetensors")
    args = (tmp_path / "tied.safetensors", "--arch", "tests.nets:TiedWeights", "--input", "2x12")
    out = tmp_path / "out"
    assert (
        main([
            str(a)
            for a in (
                "compress",
                *args,
                "--flops",
                "0.5",
                "--no-onnx",
                "--safetensors",
                "-o",
                out,
                "-q",
            )
        ])
        == 0
    )
    plan = gp.Plan.from_json((out / "plan.json").read_text())
    small = gp.apply(plan, nets.TiedWeights(), tied.inputs()).eval()
    safetensors.torch.load_model(small, out / "model.safetensors")
    x = torch.randn(3, 12)
    torch.testing.assert_close(small(x), gp.load(out)(x), rtol=1e-5, atol=1e-5)
