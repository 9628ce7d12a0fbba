"""Folders that a model's own library reads: what is in them, and when there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import graphprune as gp
from graphprune.errors import ExportError, InfeasibleBudgetError, OptionError, OutputError
from graphprune.loading import load
from graphprune.loading.pretrained import with_plain_outputs
from graphprune.workflow.result import Result
from graphprune.workflow.write import write
from tests.configured_nets import Config, Net, make, tokens
from tests.pretrained_nets import FAMILIES, import_transformers, inputs_of, save


@pytest.fixture(scope="module")
def result() -> Result:
    return gp.compress(make(), tokens(), flops=0.4, keep_config=True)


def test_the_folder_holds_the_smaller_model(result: Result, tmp_path: Path) -> None:
    check = result.save_pretrained(tmp_path / "hf").report.pretrained
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    again = Net.from_pretrained(tmp_path / "hf").eval()
    assert {name: config[name] for name in check["config"]} == check["config"]
    assert (config["words"], config["classes"], config["depth"]) == (20, 3, 2)
    assert config["heads"] * 4 == config["width"] < 16  # a head stays as wide as it was
    assert again.get_parameter("blocks.0.up.weight").shape == (config["inner"], config["width"])
    assert check["max_error"] <= check["tolerance"]
    torch.testing.assert_close(again(*tokens()), result.model(*tokens()))
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


def test_nothing_is_written_over(result: Result, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    with pytest.raises(OutputError, match="exists"):
        result.save_pretrained(tmp_path / "hf")


def test_what_was_trained_since_is_written(result: Result, tmp_path: Path) -> None:
    weight = result.model.get_parameter("classify.weight")
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(3)
    try:
        result.save_pretrained(tmp_path / "hf")
        again = Net.from_pretrained(tmp_path / "hf")
        assert torch.equal(again.get_parameter("classify.weight"), weight)
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_widths_that_were_not_chosen_so(tmp_path: Path) -> None:
    free = gp.compress(make(), tokens(), flops=0.5)
    with pytest.raises(ExportError, match="weren't chosen by") as caught:
        free.save_pretrained(tmp_path / "hf")
    assert caught.value.options == ("keep_config",)
    with pytest.raises(OptionError, match="isn't built from a config"):
        gp.compress(torch.nn.Linear(3, 3), (torch.ones(2, 3),), flops=0.5, keep_config=True)


def test_channels_that_go_with_no_loss_go_as_the_config_can_state(tmp_path: Path) -> None:
    net = make()
    with torch.no_grad():
        for block, dead in zip(net.blocks, (4, 8), strict=True):
            for tensor in block.up.parameters():  # type: ignore[union-attr]
                tensor[:dead] = 0
    free = gp.compress(net, tokens(), lossless=True).plan.keep
    result = gp.compress(net, tokens(), lossless=True, keep_config=True)
    wide = net.config.width * 2
    widths = [len(free[f"blocks.{number}.up"]) for number in range(2)]
    assert widths == [wide - 4, wide - 8]
    result.save_pretrained(tmp_path / "hf")
    again = Net.from_pretrained(tmp_path / "hf").eval()
    assert again.config.inner == wide - 4
    torch.testing.assert_close(again(*tokens()), net(*tokens()))


class _Rounds(Net):
    """Reads its weights back less precisely than they were."""

    @classmethod
    def from_pretrained(cls, folder: Path, **_: Any) -> Net:
        net = super().from_pretrained(folder)
        with torch.no_grad():
            net.classify.weight.copy_(net.classify.weight.bfloat16())
        return net


class _Narrow(Net):
    """Computes something else where heads are narrower than in the dense model."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.scale = 0.5 if block.head >= 4 else 0.4


@pytest.mark.parametrize("kind", [_Rounds, _Narrow])
def test_a_folder_that_is_read_as_another_model_is_not_left(
    kind: type[Net], tmp_path: Path
) -> None:
    result = gp.compress(make(kind), tokens(), flops=0.4, keep_config=True)
    with pytest.raises(ExportError, match="computes something else"):
        result.save_pretrained(tmp_path / "hf")
    assert list(tmp_path.iterdir()) == []
    written = write(result, tmp_path, onnx=False, page=False)
    assert not (tmp_path / "hf").exists()
    assert any(note.startswith("no folder hf: ") for note in written.report.notes)


def test_a_field_that_states_nothing_is_named(result: Result, tmp_path: Path) -> None:
    assert result.config is not None
    blind = replace(result.config, settings=result.config.settings[:1])
    with pytest.raises(ExportError, match=r"no field of the config states \w+"):
        replace(result, config=blind).save_pretrained(tmp_path / "hf")


def test_a_budget_that_the_config_does_not_allow() -> None:
    with pytest.raises(InfeasibleBudgetError) as caught:
        gp.compress(make(heads=1, inner=1), tokens(), flops=0.3, keep_config=True)
    assert "keep_config" in caught.value.options


class _Means(Net):
    """Has norms that take the mean off."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.norm = torch.nn.LayerNorm(config.width, config.epsilon)


@pytest.mark.parametrize(("kind", "inexact"), [(Net, False), (Net, True), (_Means, True)])
def test_the_epsilon_of_norms_follows_in_the_config(
    kind: type[Net],
    inexact: bool,
    tmp_path: Path,
) -> None:
    net = make(kind, epsilon=0.01)
    done = gp.compress(net, tokens(), flops=0.4, keep_config=True, allow_inexact=inexact)
    changed = done.save_pretrained(tmp_path / "hf").report.pretrained["config"]
    assert changed["epsilon"] == pytest.approx(0.01 * 16 / changed["width"])
    again = kind.from_pretrained(tmp_path / "hf").eval()
    torch.testing.assert_close(again(*tokens()), done.model(*tokens()))


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_library_reads_what_is_written(name: str, tmp_path: Path) -> None:
    transformers = import_transformers()
    read = load(save(transformers, name, tmp_path / "dense"), arch="hf", inputs=inputs_of(name))
    result = gp.compress(
        read.model, read.inputs, flops=0.8, allow_inexact=True, keep_config=True
    ).save_pretrained(tmp_path / "hf")
    kind = getattr(transformers, FAMILIES[name][0])
    again = kind.from_pretrained(tmp_path / "hf").eval()
    transformers.AutoModel.from_pretrained(tmp_path / "hf")
    assert sum(p.numel() for p in again.parameters()) < sum(
        p.numel() for p in read.model.parameters()
    )
    assert result.report.pretrained["config"]
    dense = json.loads((tmp_path / "dense" / "config.json").read_text())
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["architectures"] == dense["architectures"]
    assert config.get("use_cache") == dense.get("use_cache")
    with torch.no_grad():
        got = with_plain_outputs(again)(*read.inputs)[0]
        torch.testing.assert_close(got, result.model(*read.inputs)[0])
    if not hasattr(again, "generate") or not again.can_generate():
        return
    again = kind.from_pretrained(tmp_path / "hf").eval()
    ids = read.inputs[0][:1, :6]
    mask = torch.ones_like(ids)
    words = [
        again.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False, use_cache=cache)
        for cache in (True, False)
    ]
    assert torch.equal(*words)
    if config.get("tie_word_embeddings"):
        assert again.get_input_embeddings().weight is again.get_output_embeddings().weight
