"""What ``--arch`` may name: own classes with arguments, and three libraries."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.loading import load
from graphprune.loading.factories import LIBRARIES, build, examples_of


class Wide(nn.Module):
    """Takes arguments."""

    def __init__(self, width: int = 4, *, name: str = "") -> None:
        super().__init__()
        self.fc, self.name = nn.Linear(3, width), name


HERE = __name__


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def test_own_classes_with_arguments() -> None:
    assert build(f"{HERE}:Wide").get_submodule("fc").out_features == 4
    found = build(f"{HERE}:Wide(width=7, name='a(b)')")
    assert found.get_submodule("fc").out_features == 7
    assert found.name == "a(b)"


def example_inputs() -> torch.Tensor:
    return torch.zeros(2, 3)


def test_one_example_input_need_not_be_a_tuple() -> None:
    (found,) = examples_of(f"{HERE}:Wide", Wide()) or ()
    assert found.shape == (2, 3)


@pytest.mark.parametrize(
    "arch",
    [
        f"{HERE}:Wide(7)",
        f"{HERE}:Wide(width=__import__('os'))",
        f"{HERE}:Wide(width=)",
        f"{HERE}:Wide(**{{}})",
        f"{HERE}:Wide(width=1",
        f"{HERE}:Wide(width=1)(width=2)",
        f"{HERE}:Wide(width=1).to(width=2)",
        f"{HERE}:Wide(width=1) + (1)",
        f"{HERE}:Wide(width={{[]: 1}})",
        f"{HERE}:Wide(width={'-' * 100_000}1)",
        f"{HERE}:",
        ":Wide",
        "Wide",
        "timm:",
        "",
    ],
)
def test_what_is_no_name_of_an_architecture(arch: str) -> None:
    with pytest.raises(LoadError) as caught:
        build(arch)
    assert caught.value.hint or "can't find" in caught.value.message


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_not_installed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "transformers" if library == "hf" else library
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LoadError, match=f"{package} is not installed") as caught:
        build(f"{library}:anything")
    assert caught.value.hint == f"pip install {package}"


def test_a_library_is_asked_without_pretrained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    library = ModuleType("timm")
    library.create_model = lambda *a, **k: asked.append((a, k)) or Wide()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", library)
    build("timm:net(num_classes=3)")
    assert asked == [(("net",), {"pretrained": False, "num_classes": 3})]


def test_a_half_precision_module_in_a_checkpoint_takes_such_inputs(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "model": nn.Linear(3, 4).half(), "ema": None}, tmp_path / "run.pt")
    found = load(tmp_path / "run.pt", inputs=["1x3"], trust_pickle=True)
    assert isinstance(found.model, nn.Linear)
    assert [x.dtype for x in found.inputs] == [torch.float16]


def compressed(file: Path, arch: str, *inputs: str) -> gp.Result:
    found = load(file, arch=arch, inputs=inputs)
    assert found.model is not None
    result = gp.compress(found.model, found.inputs, params=0.7)
    assert result.report.after.params <= 0.7 * result.report.before.params
    return result


@pytest.fixture
def _libraries() -> None:
    """Import torchvision first, in the one way that works beside any build of torch."""
    from benchmarks.zoo_nets import import_torchvision

    import_torchvision()


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.usefixtures("_libraries")
def test_timm(tmp_path: Path) -> None:
    arch = "timm:resnet10t(num_classes=10)"
    model = build(arch)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    assert [tuple(x.shape) for x in examples_of(arch, model) or ()] == [(1, 3, 176, 176)]
    assert type(compressed(tmp_path / "model.pt", arch, "1x3x64x64").model) is type(model)


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.usefixtures("_libraries")
def test_torchvision(tmp_path: Path) -> None:
    arch = "torchvision:shufflenet_v2_x0_5(num_classes=10)"
    torch.save(build(arch).state_dict(), tmp_path / "model.pt")
    with pytest.raises(LoadError, match="shape of the inputs is not known"):
        load(tmp_path / "model.pt", arch=arch)
    compressed(tmp_path / "model.pt", arch, "1x3x64x64")


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.usefixtures("_libraries")
def test_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=50,
        max_position_embeddings=40,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "bert")  # config.json and model.safetensors
    assert json.loads((tmp_path / "bert" / "config.json").read_text())["architectures"]
    file, arch = tmp_path / "bert" / "model.safetensors", f"hf:{tmp_path / 'bert'}"
    compressed(file, arch, "2x12:int64")
    with pytest.raises(LoadError, match=r"holds no config\.json"):
        build(f"hf:{tmp_path}")


class Hyper(Wide):
    """As a module of Lightning, which loads checkpoints itself."""

    def __init__(self, width: int = 4, *, name: str = "") -> None:
        super().__init__(width, name=name)
        self.example_input_array = torch.ones(1, 3)

    @classmethod
    def load_from_checkpoint(cls, path: str) -> Hyper:
        raise NotImplementedError


class Whole(Hyper):
    """Takes its hyperparameters as one argument."""

    def __init__(self, hparams: dict[str, int]) -> None:
        super().__init__(hparams["width"])


class AnyNames(Hyper):
    """Takes any hyperparameters."""

    def __init__(self, **hparams: int) -> None:
        super().__init__(hparams["width"])


@pytest.mark.parametrize(
    ("arch", "name", "width"),
    [
        ("Hyper", "kwargs", 9),
        ("Hyper(width=5)", "kwargs", 5),
        ("Whole", "hparams", 9),
        ("AnyNames", "kwargs", 9),
        ("Wide", "kwargs", 4),  # any other class is built as it says
    ],
)
def test_hyperparameters_of_a_checkpoint(arch: str, name: str, width: int, tmp_path: Path) -> None:
    content = {
        "state_dict": Wide(width).state_dict(),
        "hyper_parameters": {"width": 9, "lr": 0.1},
        "hparams_name": name,
    }
    assert build(f"{HERE}:{arch}", content).get_submodule("fc").out_features == width
    torch.save(content, tmp_path / "last.ckpt")
    inputs = ["2x3"] if arch == "Wide" else []  # others say what they take
    found = load(tmp_path / "last.ckpt", arch=f"{HERE}:{arch}", inputs=inputs)
    assert found.inputs[0].shape[1] == 3


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("nets.py:Residual", "write nets:Residual"),
        ("./tests/nets.py:Residual", "write nets:Residual"),
        ("tests/nets:Residual", "write nets:Residual"),
        ("tests.nets:Nope", "it has "),
        ("nowhere_at_all:Nope", "current folder"),
    ],
)
def test_a_name_that_leads_nowhere_says_where_to_look(arch: str, says: str) -> None:
    with pytest.raises(LoadError) as caught:
        build(arch)
    assert says in caught.value.hint
