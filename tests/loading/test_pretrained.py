"""Folders of the transformers library: what is read from them, and what isn't one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from graphprune.errors import LoadError
from graphprune.ir.trace import trace
from graphprune.loading import load
from graphprune.loading.pretrained import pretrained_folder, with_plain_outputs
from tests.pretrained_nets import FAMILIES, import_transformers, inputs_of, save


@pytest.mark.parametrize(
    ("path", "arch", "found"),
    [
        ("net", "hf", True),
        ("net", "hf:{}/net", True),
        ("net", "hf:{}/net/", True),
        ("net", "hf:{}/./net", True),
        ("net/model.safetensors", "hf:{}/net", True),
        ("net/model.safetensors", "hf", False),
        ("net/other.safetensors", "hf:{}/net", False),
        ("net", "hf:{}", False),
        ("net", "timm:net", False),
        (".", "hf", False),
    ],
)
def test_which_paths_mean_a_folder(tmp_path: Path, path: str, arch: str, *, found: bool) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text("{}")
    folder = pretrained_folder(tmp_path / path, arch.format(tmp_path))
    assert folder == (tmp_path / "net" if found else None)


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(LoadError, match="transformers is not installed"):
        load(tmp_path, arch="hf", inputs=["1x3:int64"])


def test_a_class_that_the_library_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("transformers")
    config = type("Config", (), {"architectures": ["Unheard"]})
    auto = type("Auto", (), {"from_pretrained": staticmethod(lambda *_, **__: config())})
    library.AutoConfig, library.PreTrainedModel = auto, nn.Module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", library)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LoadError, match="no architecture 'Unheard'"):
        load(tmp_path, arch="hf", inputs=["1x3"])


class _Named(dict[str, torch.Tensor]):
    def to_tuple(self) -> tuple[torch.Tensor, ...]:
        return tuple(self.values())


class _ReturnsNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> _Named:
        return _Named(logits=self.fc(x))


def test_results_by_name_become_tuples() -> None:
    net = with_plain_outputs(_ReturnsNames())
    assert isinstance(net(torch.ones(1, 3)), tuple)
    spec = trace(net, (torch.ones(2, 3),)).call_spec.out_spec
    assert spec == pytree.tree_structure((0,))


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_is_read(name: str, tmp_path: Path) -> None:
    transformers = import_transformers()
    folder = save(transformers, name, tmp_path / name)
    found = load(folder, arch="hf", inputs=inputs_of(name))
    own = getattr(transformers, FAMILIES[name][0]).from_pretrained(folder).eval()
    assert found.pretrained == folder
    assert found.model is not None
    assert type(found.model) is type(own)
    with torch.no_grad():
        expected, got = own(*found.inputs)[0], found.model(*found.inputs)[0]
    torch.testing.assert_close(got, expected)
    assert len(trace(found.model, found.inputs).graph.nodes) > 20


@pytest.mark.zoo
@pytest.mark.slow
def test_a_folder_without_all_weights(tmp_path: Path) -> None:
    transformers = import_transformers()
    folder = save(transformers, "vit", tmp_path / "vit")
    other = transformers.ViTModel.from_pretrained(folder)
    other.save_pretrained(tmp_path / "body")
    (tmp_path / "body" / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(LoadError, match=r"doesn't hold all weights of ViTForImage.*classifier"):
        load(tmp_path / "body", arch="hf", inputs=["2x3x16x16"])
