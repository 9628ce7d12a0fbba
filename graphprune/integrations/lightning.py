"""Lightning: a ``Callback`` that prunes a module while a ``Trainer`` trains it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from graphprune.errors import OptionError
from graphprune.ir.devices import put
from graphprune.loading.pretrained import import_library
from graphprune.training.finish import Sparsified

from .framework_run import FrameworkRun, base_class

__all__ = ["SparsifyCallback"]

_LIBRARY = "lightning.pytorch"


class SparsifyCallback(base_class(_LIBRARY, "Callback")):
    """Prune what a Lightning ``Trainer`` trains; when ``fit`` ends, ``result`` holds the smaller model.

    The optimiser's own steps are followed, so that the training step stays as it is. Its state is saved in the
    checkpoints of the trainer, and a run that resumes from one comes to the same plan.

    Args:
        part: name of the submodule to prune, such as ``net``; by default the whole ``LightningModule``, whose
            ``forward`` is what is cut.
        options: budget, method and more, as of ``graphprune.Sparsify``. Without ``example_inputs`` and
            ``example_kwargs``, the ``example_input_array`` of the module is taken.

    Raises:
        LoadError: if Lightning isn't installed.
        OptionError: if an option comes from the trainer.
    """

    def __init__(self, *, part: str = "", **options: Any) -> None:
        import_library(_LIBRARY)
        super().__init__()
        self._part = part
        self._run = FrameworkRun(options)
        self._resumed: Mapping[str, Any] | None = None

    @property
    def result(self) -> Sparsified | None:
        """The smaller model, its optimiser, its plan and its report; ``None`` until ``fit`` ends."""
        return self._run.result

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Plan, once the model is where it is trained and its optimiser is known."""
        model: nn.Module = pl_module.get_submodule(self._part)
        with _without_trainer(pl_module):
            self._run.begin(
                model,
                trainer.optimizers,
                trainer.estimated_stepping_batches,
                self._resumed,
                **self._inputs(pl_module),
            )
        self._resumed = None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Cut, with all proofs."""
        del trainer
        with _without_trainer(pl_module):
            self._run.end()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the run."""
        return self._run.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember what a checkpoint kept, until training starts."""
        self._resumed = state_dict

    def _inputs(self, pl_module: Any) -> dict[str, Any]:
        """Take the example inputs that the module has, where none were given."""
        if self._run.has_inputs:
            return {}
        found = None if self._part else put(pl_module.example_input_array, pl_module.device)
        match found:
            case Tensor():
                return {"example_inputs": (found,)}
            case Mapping():
                return {"example_kwargs": dict(found)}
            case Sequence():
                return {"example_inputs": tuple(found)}
            case _:
                raise OptionError(
                    "no example inputs are known",
                    hint="give example_inputs, or set example_input_array in the module",
                )


@contextmanager
def _without_trainer(pl_module: Any) -> Generator[None]:
    """Take a module away from its trainer, which copies of it would copy as well."""
    trainer = pl_module._trainer
    pl_module.trainer = None
    try:
        yield
    finally:
        pl_module.trainer = trainer
