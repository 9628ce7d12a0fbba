"""Transformers: a ``TrainerCallback`` that prunes a model while its ``Trainer`` trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphprune.errors import OptionError
from graphprune.io.files import write_checkpoint
from graphprune.loading import read_checkpoint
from graphprune.loading.pretrained import import_library
from graphprune.training.finish import Sparsified

from .framework_run import FrameworkRun, base_class

__all__ = ["STATE", "SparsifyCallback"]

_LIBRARY = "transformers"

STATE = "graphprune.pt"
"""File in the folder of a checkpoint that holds the state of the run."""


class SparsifyCallback(base_class(_LIBRARY, "TrainerCallback")):
    """Prune what a ``Trainer`` of transformers trains; when ``train`` ends, ``result`` holds the smaller model.

    The optimiser's own steps are followed, so that the loss stays as it is. Each checkpoint has the state of the run in a file, and
    training that resumes from a checkpoint in ``output_dir`` comes to the same plan.

    Args:
        options: budget, method and more, as of ``graphprune.Sparsify``; ``example_inputs`` or ``example_kwargs``
            among them.

    Raises:
        LoadError: if transformers isn't installed.
        OptionError: if an option comes from the trainer, or there are no example inputs.
    """

    def __init__(self, **options: Any) -> None:
        import_library(_LIBRARY)
        super().__init__()
        self._run = FrameworkRun(options)
        if not self._run.has_inputs:
            raise OptionError(
                "no example inputs are known", hint="give example_inputs or example_kwargs"
            )

    @property
    def result(self) -> Sparsified | None:
        """The smaller model, its optimiser, its plan and its report; ``None`` until ``train`` ends."""
        return self._run.result

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Plan, once the model and its optimiser are ready.

        Raises:
            OptionError: if the trainer would go back to weights of another moment, or resumes from a checkpoint
                without the state of a run.
        """
        del control
        if args.load_best_model_at_end:
            raise OptionError(
                "load_best_model_at_end brings back weights of before the channels went",
                hint="leave it out; the smaller model can be trained on with it",
            )
        saved = None
        if state.global_step:
            file = _folder(args, state) / STATE
            saved = read_checkpoint(file)
            if saved is None:
                raise OptionError(
                    f"training resumes at step {state.global_step}, and there is no {file}",
                    hint="resume from a checkpoint in output_dir that was saved with this callback",
                )
        optimizer = kwargs["optimizer"]
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        self._run.begin(kwargs["model"], [inner], state.max_steps, saved)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the state of the run beside the checkpoint that was just saved."""
        del control, kwargs
        if args.should_save:
            write_checkpoint(_folder(args, state) / STATE, self._run.state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cut, with all proofs."""
        del args, state, control, kwargs
        self._run.end()


def _folder(args: Any, state: Any) -> Path:
    """Name the folder of the checkpoint of a step, as the trainer names it."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
