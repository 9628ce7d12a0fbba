"""A run of ``Sparsify`` in a loop that belongs to a framework: what the callbacks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from graphprune.errors import LoadError, OptionError
from graphprune.loading.pretrained import import_library
from graphprune.training.finish import Sparsified
from graphprune.training.sparsify import Sparsify

__all__ = ["FrameworkRun", "base_class"]


def base_class(library: str, name: str) -> Any:
    """Return a class of a library to derive from; ``object`` where the library can't be imported.

    Args:
        library: the module that has it.
        name: of the class.
    """
    try:
        return getattr(import_library(library), name)
    except LoadError:
        return object


class FrameworkRun:
    """Pruning from the beginning of a framework's loop to its end.

    Args:
        options: of ``graphprune.Sparsify``, but for the model, its steps and its optimiser.

    Raises:
        OptionError: if one of these is among them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        if wrong := sorted({"model", "optimizer", "steps"} & options.keys()):
            raise OptionError(f"{wrong[0]} comes from the framework here; leave it out")
        self.options = dict(options)
        self.sparsify: Sparsify | None = None
        self.result: Sparsified | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    @property
    def has_inputs(self) -> bool:
        """Whether example inputs are among the options."""
        return any(self.options.get(n) is not None for n in ("example_inputs", "example_kwargs"))

    def begin(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        steps: float,
        state: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> None:
        """Plan, and go along with the steps of the optimiser from now on.

        Args:
            model: what is trained.
            optimizers: those of the loop; there has to be one.
            steps: how many steps it will make in all.
            state: of a run that was killed.
            inputs: example inputs, where they aren't among the options.

        Raises:
            OptionError: if there are several optimisers, or the number of steps isn't known.
        """
        if len(optimizers) != 1:
            raise OptionError(
                f"the loop has {len(optimizers)} optimisers, and one is needed",
                hint="use graphprune.Sparsify in a loop of your own",
            )
        if not 1 <= steps < float("inf"):
            raise OptionError(
                "how many steps the training will have isn't known",
                hint="limit its epochs or its steps",
            )
        self.result, self._optimizer = None, optimizers[0]
        self.sparsify = Sparsify(model, steps=int(steps), **{**inputs, **self.options})
        if state is not None:
            self.sparsify.load_state_dict(state)
        self.sparsify.follow(self._optimizer)

    def end(self) -> Sparsified:
        """Cut what goes, prove it, and carry the optimiser over."""
        assert self.sparsify is not None
        self.result = self.sparsify.finish(self._optimizer)
        return self.result

    @property
    def state(self) -> dict[str, Any]:
        """What a killed run needs to go on; nothing before it has begun."""
        return {} if self.sparsify is None else self.sparsify.state_dict()
