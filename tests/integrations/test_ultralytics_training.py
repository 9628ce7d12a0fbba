"""Ultralytics: a detector that is pruned while it is trained ends as a smaller object that goes on."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graphprune.errors import OptionError
from graphprune.integrations.ultralytics import NOT_BUILT, is_smaller
from graphprune.integrations.ultralytics_training import SparsifyCallback

from .test_ultralytics import SIZE, Described, library, size_of, training, unlike

__all__ = ["library", "training"]  # fixtures


class Yolo:
    """Holds callbacks as objects of Ultralytics do."""

    def __init__(self) -> None:
        self.callbacks = defaultdict[str, list[Any]](list)

    def add_callback(self, event: str, function: Any) -> None:
        self.callbacks[event].append(function)


def trainer(model: nn.Module, **known: Any) -> Any:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return SimpleNamespace(model=model, optimizer=optimizer, **known)


def test_what_cannot_be_followed_is_refused() -> None:
    yolo = Yolo()
    pruning = SparsifyCallback(yolo, flops=0.5)
    with pytest.raises(OptionError, match="no training has ended"):
        pruning.finish()
    (begin,) = yolo.callbacks["on_train_start"]
    dense = Described({"backbone": []})
    with pytest.raises(OptionError, match="resumed"):
        begin(trainer(dense, start_epoch=3))
    with pytest.raises(OptionError, match="smaller already"):
        begin(trainer(Described({"backbone": [[-1, 1, NOT_BUILT, []]]}), start_epoch=0))
    with pytest.raises(OptionError, match="optimizer comes from the framework"):
        SparsifyCallback(yolo, flops=0.5, optimizer=None)


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the library
@pytest.mark.parametrize("name", ["yolov8n", "yolo11n"])
def test_a_detector_ends_small(
    name: str, library: Any, training: dict[str, Any], tmp_path: Path
) -> None:
    yolo = library.YOLO(f"{name}.yaml")
    unlike(yolo.model)
    pruning = SparsifyCallback(yolo, flops=0.6, method="group-lasso")
    yolo.train(**{**training, "epochs": 6, "nbs": 4, "patience": 0})
    small, result = pruning.finish()
    count = size_of(small.model)
    assert type(small.model) is type(yolo.model)
    assert is_smaller(small.model)
    assert result.report.budget["met"]
    assert result.report.after.macs < 0.61 * result.report.before.macs
    assert not any("held" in note for note in result.report.notes)
    assert count < size_of(yolo.model)
    assert (
        not yolo.callbacks["on_train_start"]
        or pruning._begin not in yolo.callbacks["on_train_start"]
    )
    assert result.optimizer is not None
    states = [
        v for s in result.optimizer.state.values() for v in s.values() if getattr(v, "ndim", 0)
    ]
    assert states
    for parameter, state in result.optimizer.state.items():
        assert all(v.shape == parameter.shape for v in state.values() if getattr(v, "ndim", 0))

    assert len(small.predict(np.zeros((SIZE, SIZE, 3), np.uint8), imgsz=SIZE)) == 1
    small.train(**training)
    assert size_of(small.model) == count
    small.save(tmp_path / "small.pt")
