"""Ultralytics: cut what a ``YOLO`` or ``RTDETR`` object holds, and go on with it: train, save, validate, export.

Ultralytics builds a model from its yaml whenever it trains, and fills it with the weights that fit. A smaller model
would come back at its full size, mostly with new weights. Here the trainer keeps the module. The yaml of a smaller
model begins with a line that can't be built, so that any other trainer fails with its text; this needs no graphprune.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.api import compress as compress_module
from graphprune.errors import LoadError, OptionError
from graphprune.loading.pretrained import import_library
from graphprune.workflow.options import several
from graphprune.workflow.result import Result

__all__ = [
    "compress",
    "example_images",
    "is_smaller",
    "keeping",
    "load",
    "protected",
    "with_smaller",
]

NOT_BUILT = (
    "graphprune made this model smaller than its yaml says. "
    "Train it as graphprune.integrations.ultralytics.load(FILE).train(...)"
)
"""Stands for the kind of the first layer in the yaml of a smaller model; the error of whoever builds it is this text."""


def compress(yolo: Any, *, imgsz: int | None = None, **options: Any) -> tuple[Any, Result]:
    """Cut the model of an Ultralytics object.

    Args:
        yolo: a ``YOLO`` or ``RTDETR`` object that holds a model. It stays as it is.
        imgsz: side of the square example images, in pixels; that of the training unless given.
        options: budget, data and more, as of ``graphprune.compress``.

    Returns:
        An object of the same kind with the smaller model, whose ``train`` keeps it small; and the result.

    Raises:
        OptionError: if the object holds no model of torch, or one whose BatchNorm is folded, or the class can't be
            kept.
        InfeasibleBudgetError: if no plan that the class can follow meets the budgets.
    """
    model = yolo.model
    if not isinstance(model, nn.Module):
        raise OptionError(
            f"the {type(yolo).__name__} object holds {model!r}, which is no module of torch",
            hint="give one made from a .pt or .yaml file",
        )
    _check_unfused(model)
    size = int(imgsz or yolo.overrides.get("imgsz") or 640)
    device = next(model.parameters()).device
    images = example_images(model, size, device)
    options["protect"] = protected(model, options.get("protect", ()))
    result = compress_module(model, (images,), keep_class=True, **options)
    return with_smaller(yolo, result.model), result


def protected(model: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Add torch's own attention to what stays whole: a cut one is of a class that a file can't be read without.

    Args:
        model: of Ultralytics.
        patterns: of groups or parameters, as ``protect`` takes them.
    """
    whole = [f"{n}.*" for n, m in model.named_modules() if type(m) is nn.MultiheadAttention]
    return tuple(dict.fromkeys([*several(patterns), *whole]))


def example_images(model: nn.Module, size: int, device: torch.device) -> torch.Tensor:
    """Make two square images of noise, with as many channels as a model of Ultralytics takes."""
    return torch.rand(2, _described(model).get("channels", 3), size, size, device=device)


def with_smaller(yolo: Any, model: Any) -> Any:
    """Copy an object of Ultralytics, with a smaller model in it that its ``train`` keeps small.

    Args:
        yolo: a ``YOLO`` or ``RTDETR`` object.
        model: cut from the one that it holds, or held when training began; it becomes part of the copy.
    """
    held = {id(each): None for each in (yolo.trainer, yolo.predictor, yolo.ckpt, yolo.metrics)}
    small = copy.deepcopy(yolo, {**held, id(yolo.model): model})
    model.yaml, model.args = _marked(_described(model)), dict(model.args)
    small.ckpt = {"train_args": dict(model.args)}  # so that Ultralytics starts from the module
    return _training_small(small)


def load(file: str | Path) -> Any:
    """Load a smaller model that was saved by Ultralytics, so that training keeps it small.

    Args:
        file: as ``save`` of the object wrote it, or its trainer.

    Returns:
        A ``YOLO`` or ``RTDETR`` object.

    Raises:
        LoadError: if Ultralytics isn't installed, or the file holds no smaller model.
    """
    yolo = import_library("ultralytics").YOLO(str(file))
    if not is_smaller(yolo.model):
        raise LoadError(
            f"{file} holds no model that graphprune made smaller",
            hint="load it by ultralytics.YOLO, and make it smaller by compress",
        )
    return _training_small(yolo)


def is_smaller(model: object) -> bool:
    """Say whether a model of Ultralytics was made smaller than its yaml says."""
    return isinstance(model, nn.Module) and _is_marked(_described(model))


def keeping(trainer: type[Any]) -> type[Any]:
    """Make a trainer of Ultralytics that goes on with a smaller model, where it was given one.

    Args:
        trainer: a class of Ultralytics or of the user, of any task.

    Returns:
        A class derived from it, to be passed as ``train(trainer=...)``.
    """
    base: Any = trainer

    class Keeping(base):
        """A trainer that keeps the module it is given, if that is a smaller model."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if self.ddp:
                raise OptionError(
                    "several devices: Ultralytics would start processes that know nothing of the smaller model",
                    hint="train on one device",
                )

        def get_model(self, cfg: Any = None, weights: Any = None, **kwargs: Any) -> Any:
            """Return a copy of a smaller model; any other is built as usual."""
            if is_smaller(weights):
                return _to_train(weights, self.data)
            if isinstance(cfg, dict) and _is_marked(cfg):
                raise OptionError(
                    "a smaller model has to be trained from its own weights",
                    hint="leave out `pretrained`",
                )
            return super().get_model(cfg=cfg, weights=weights, **kwargs)

    return Keeping


def _training_small(yolo: Any) -> Any:
    """Give an object a class whose training keeps a smaller model; as Ultralytics itself changes classes."""
    kind: Any = type(yolo)

    class Small(kind):
        """An object of Ultralytics that trains its model at the size that this has."""

        def train(self, trainer: type[Any] | None = None, **kwargs: Any) -> Any:
            """Train as usual, at the size that the model has."""
            return super().train(trainer=keeping(trainer or self._smart_load("trainer")), **kwargs)

        def val(self, *args: Any, **kwargs: Any) -> Any:
            """Validate as usual; the model can be trained afterwards."""
            with _on_a_copy(self):
                return super().val(*args, **kwargs)

        def predict(self, *args: Any, **kwargs: Any) -> Any:
            """Predict as usual; the model can be trained afterwards."""
            with _on_a_copy(self):
                return super().predict(*args, **kwargs)

    Small.__name__, Small.__qualname__ = kind.__name__, kind.__qualname__
    yolo.__class__ = Small
    return yolo


@contextmanager
def _on_a_copy(yolo: Any) -> Generator[None]:
    """Let an object work on a copy of its model, since Ultralytics folds BatchNorm in place."""
    model = yolo.model
    yolo.model = copy.deepcopy(model)
    try:
        yield
    finally:
        yolo.model = model


def _to_train(model: Any, data: dict[str, Any]) -> nn.Module:
    """Copy a smaller model for training on data with as many classes and channels as it has.

    Raises:
        OptionError: if it has others, or its BatchNorm is folded.
    """
    _check_unfused(model)
    described = _described(model)
    for name, what in (("nc", "classes"), ("channels", "channels of images")):
        ours, theirs = described.get(name), data.get(name)
        if None not in (ours, theirs) and ours != theirs:
            raise OptionError(
                f"the smaller model has {ours} {what}, the data {theirs}",
                hint="train the model on this data first, then make it smaller",
            )
    return copy.deepcopy(model).float()


def _check_unfused(model: Any) -> None:
    if model.is_fused():
        raise OptionError(
            "BatchNorm of the model is folded, as Ultralytics does it to predict and to validate",
            hint="take the file that it was loaded from",
        )


def _described(model: Any) -> dict[str, Any]:
    """Return what a model says that it was built from."""
    return dict(getattr(model, "yaml", None) or {})


def _marked(described: dict[str, Any]) -> dict[str, Any]:
    if _is_marked(described):
        return described
    return {**described, "backbone": [[-1, 1, NOT_BUILT, []], *described.get("backbone", [])]}


def _is_marked(described: dict[str, Any]) -> bool:
    return any(NOT_BUILT in row for row in described.get("backbone", []))
