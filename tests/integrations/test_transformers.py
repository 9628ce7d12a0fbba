"""Transformers: a tiny model is trained by a ``Trainer`` and ends as its class with smaller layers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from graphprune.errors import LoadError, OptionError

from .over_processes import check_two_processes

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("default")]

LENGTH = 8
STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def library() -> Any:
    from benchmarks.zoo_nets import import_torchvision  # which transformers imports too

    import_torchvision()
    pytest.importorskip("accelerate")
    return pytest.importorskip("transformers")


def callback(**options: Any) -> Any:
    """The callback, once the library can be imported."""
    from graphprune.integrations.transformers import SparsifyCallback

    inputs = {"input_ids": torch.ones(2, LENGTH, dtype=torch.int64)}
    return SparsifyCallback(**{"flops": 0.6, "example_kwargs": inputs, **options})


class Tokens(Dataset[Any]):
    """Whose class is whether a token is in them."""

    def __init__(self) -> None:
        made = torch.Generator().manual_seed(0)
        self.ids = torch.randint(0, 50, (32, LENGTH), generator=made)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Any:
        ids = self.ids[number]
        return {"input_ids": ids, "labels": int((ids < 6).any())}


def bert(library: Any) -> Any:
    torch.manual_seed(0)
    config = library.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=16, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return library.BertForSequenceClassification(config)


def trainer(
    library: Any, model: Any, folder: Path, *callbacks: Any, data: Any = None, **options: Any
) -> Any:
    arguments = library.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True,
        **{
            "save_strategy": "no",
            "per_device_train_batch_size": 8, "num_train_epochs": STEPS // 4, "learning_rate": 1e-3,
            **options,
        },
    )  # fmt: skip
    return library.Trainer(
        model=model,
        args=arguments,
        train_dataset=Tokens(),
        eval_dataset=data,
        callbacks=list(callbacks),
    )


def test_a_model_ends_small_with_its_class_and_its_optimiser(library: Any, tmp_path: Path) -> None:
    pruning, model = callback(), bert(library)
    trainer(library, model, tmp_path, pruning).train()
    result = pruning.result
    assert type(result.model) is type(model)
    assert result.report.budget["met"]
    assert result.report.after.macs < 0.61 * result.report.before.macs
    assert not any("held" in note for note in result.report.notes)
    ids = Tokens().ids[:4]
    small: Any = result.model.eval()
    torch.testing.assert_close(
        small(input_ids=ids).logits, model.eval()(input_ids=ids).logits, atol=1e-5, rtol=1e-5
    )
    states = result.optimizer.state
    for parameter in small.parameters():
        assert states[parameter]["exp_avg"].shape == parameter.shape
        assert float(states[parameter]["step"]) == STEPS
    trainer(library, small, tmp_path, num_train_epochs=1).train()


def test_steps_are_those_of_the_optimiser_where_gradients_are_accumulated(
    library: Any, tmp_path: Path
) -> None:
    pruning = callback(method="gradual")
    how = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    trainer(library, bert(library), tmp_path, pruning, **how).train()
    assert pruning.result.report.budget["met"]
    assert not any("held" in note for note in pruning.result.report.notes)


def test_a_run_that_was_killed_comes_to_the_same_plan(library: Any, tmp_path: Path) -> None:
    how = {"save_strategy": "steps", "save_steps": STEPS // 2}
    whole, resumed = callback(), callback()
    model, other = bert(library), bert(library)
    trainer(library, model, tmp_path, whole, **how).train()
    killed = tmp_path / f"checkpoint-{STEPS // 2}"
    assert (killed / "graphprune.pt").is_file()
    trainer(library, other, tmp_path, resumed, **how).train(resume_from_checkpoint=str(killed))
    assert resumed.result.plan == whole.result.plan
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)

    elsewhere = tmp_path / "elsewhere" / f"checkpoint-{STEPS // 2}"
    shutil.copytree(killed, elsewhere)
    again = trainer(library, bert(library), tmp_path / "new", callback(), **how)
    with pytest.raises(OptionError, match="training resumes at step 10, and there is no"):
        again.train(resume_from_checkpoint=str(elsewhere))


def test_what_cannot_be_followed_is_refused(library: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no example inputs"):
        callback(example_kwargs=None)
    with pytest.raises(OptionError, match="steps comes from the framework"):
        callback(steps=3)
    how = {"save_strategy": "epoch", "eval_strategy": "epoch", "load_best_model_at_end": True}
    best = trainer(library, bert(library), tmp_path, callback(), data=Tokens(), **how)
    with pytest.raises(OptionError, match="load_best_model_at_end"):
        best.train()


def test_a_missing_library_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise LoadError(f"{name} is not installed", hint="pip install it")

    monkeypatch.setattr("graphprune.integrations.transformers.import_library", missing)
    with pytest.raises(LoadError, match="not installed"):
        callback()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["group-lasso", "gradual"])
def test_two_processes_come_to_the_result_of_one(tmp_path: Path, method: str) -> None:
    check_two_processes("transformers", method, tmp_path)
