"""Traced graphs as modules that can be trained, copied and saved."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from .nodes import bind, set_argument
from .program import lift, state, unlift
from .tensors import set_tensor

__all__ = ["TrainableGraph", "as_trainable", "trainable_graph"]

_TRAINING = {"train", "training", "use_input_stats"}
"""Names that operators give to the argument that tells training from evaluation."""


class TrainableGraph(fx.GraphModule):
    """A traced graph that obeys ``.train()`` and ``.eval()``.

    Flags that are off read the module's own ``training``: those of batch and instance norm,
    dropout of every kind, recurrent layers. One that was on in evaluation stays on. It starts
    in evaluation mode. What a model does in training alone leaves no trace in a program: the
    ``dropout_p`` of attention, layers that are dropped at random.

    ``torch.save`` stores it as a program, since torch would trace the graph's code anew, and lose
    the flags and the symbolic sizes by that; reading needs this package and ``weights_only=False``.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an exported program, beside what that doesn't hold."""
        file = io.BytesIO()
        torch.export.save(lift(copy.deepcopy(self).cpu().eval()), file)
        first: dict[int, str] = {}
        kept = {
            name: (first.setdefault(id(tensor), name), tensor.requires_grad, tensor.device)
            for name, tensor in state(self).items()
        }
        return _read, (file.getvalue(), kept, self.training)


def _read(
    data: bytes, kept: Mapping[str, tuple[str, bool, torch.device]], training: bool
) -> TrainableGraph:
    module = trainable_graph(torch.export.load(io.BytesIO(data)))
    tensors = state(module)
    for name, (first, trained, device) in kept.items():
        if first not in tensors:  # nothing reads it
            continue
        tensor = tensors[first]  # shared tensors stay shared
        tensor.data = tensor.data.to(device)
        set_tensor(module, name, tensor.requires_grad_(trained))
    return module.train(training)


def trainable_graph(program: ExportedProgram) -> TrainableGraph:
    """Convert a program to a module that can be trained."""
    return as_trainable(unlift(program))


def as_trainable(source: fx.GraphModule) -> TrainableGraph:
    """Convert a traced graph to a module that can be trained; the graph is shared."""
    module = TrainableGraph(source, source.graph)
    for node in [n for n in module.graph.nodes if n.op == "call_function"]:
        for name, value in bind(node).items():
            if name in _TRAINING and value is False:
                with module.graph.inserting_before(node):
                    flag = module.graph.create_node("get_attr", "training")
                set_argument(node, name, flag)
    module.recompile()
    return module.eval()
