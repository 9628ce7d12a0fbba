"""Ultralytics: callbacks that prune the model of a ``YOLO`` or ``RTDETR`` object while it is trained."""

from __future__ import annotations

from typing import Any

from torch import nn

from graphprune.errors import OptionError
from graphprune.ir.unwrap import unwrap
from graphprune.training.finish import Sparsified

from .framework_run import FrameworkRun
from .ultralytics import example_images, is_smaller, protected, with_smaller

__all__ = ["SparsifyCallback"]


class SparsifyCallback:
    """Prune what an Ultralytics object trains; ``finish`` gives the smaller object after ``train``.

    The optimiser's own steps are followed, so that the trainer stays as it is. What is returned has the averaged weights,
    as Ultralytics saves them.

    Args:
        yolo: the object, to which callbacks are added.
        imgsz: side of the square example images, in pixels; that of the training unless given.
        options: budget, method and more, as of ``graphprune.Sparsify``.

    Raises:
        OptionError: if an option comes from the trainer.
    """

    def __init__(self, yolo: Any, *, imgsz: int | None = None, **options: Any) -> None:
        self._yolo, self._size = yolo, imgsz
        self._run = FrameworkRun({"keep_class": True, **options})
        self._small: nn.Module | None = None
        self._callbacks = {"on_train_start": self._begin, "on_train_end": self._end}
        for event, function in self._callbacks.items():
            yolo.add_callback(event, function)

    def finish(self) -> tuple[Any, Sparsified]:
        """Return an object of the same kind with the smaller model, whose ``train`` keeps it small; and the result.

        The callbacks are removed.

        Raises:
            OptionError: if no training has ended since the callbacks were added.
        """
        small, result = self._small, self._run.result
        if small is None or result is None:
            raise OptionError(
                "no training has ended in this process",
                hint="call train first, on one device: on several it runs in other processes",
            )
        for event, function in self._callbacks.items():
            functions = self._yolo.callbacks[event]
            functions[:] = [each for each in functions if each != function]
        self._small = None
        return with_smaller(self._yolo, small), result

    def _begin(self, trainer: Any) -> None:
        """Plan, once the model and its optimiser are ready.

        Raises:
            OptionError: if the training is resumed, or the model is smaller already.
        """
        model = unwrap(trainer.model)
        assert isinstance(model, nn.Module)
        if trainer.start_epoch:
            raise OptionError(
                "a training that is resumed can't be pruned: its files don't hold the plan",
                hint="start it anew from the weights that it had",
            )
        if is_smaller(model):
            raise OptionError("the model is smaller already", hint="prune the one of full size")
        size = int(self._size or trainer.args.imgsz)
        # At least: while the learning rate rises, Ultralytics accumulates fewer gradients.
        steps = len(trainer.train_loader) * trainer.epochs // trainer.accumulate
        images = example_images(model, size, next(model.parameters()).device)
        options = self._run.options
        options["protect"] = protected(model, options.get("protect", ()))
        self._run.begin(model, [trainer.optimizer], steps, example_inputs=(images,))

    def _end(self, trainer: Any) -> None:
        """Cut, with all proofs, and cut the averaged weights alike."""
        result = self._run.end()
        averaged = trainer.ema.ema if trainer.ema else trainer.model
        self._small = result.carry(averaged).float()
