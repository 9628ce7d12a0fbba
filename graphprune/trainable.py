"""A traced graph as a module to train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from graphprune.graph import unlift
from graphprune.nodes import bind, set_argument

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["obeying", "trainable_graph"]

_TRAINING = {"train", "training", "use_input_stats"}
"""What operators call the flag that tells training from evaluation."""


def trainable_graph(program: ExportedProgram) -> fx.GraphModule:
    """The program as a GraphModule that obeys ``.train()`` and ``.eval()``, see ``obeying``."""
    return obeying(unlift(program))


def obeying(source: fx.GraphModule) -> fx.GraphModule:
    """A traced graph as a GraphModule that obeys ``.train()`` and ``.eval()``; it shares the graph.

    Flags that are off read the module's own ``training``: those of batch and instance norm,
    dropout of every kind, recurrent layers. One that was on in evaluation stays on. It starts
    in evaluation mode. What a model does in training alone leaves no trace in a program: the
    ``dropout_p`` of attention, layers that are dropped at random.
    """
    module = fx.GraphModule(source, source.graph)
    for node in [n for n in module.graph.nodes if n.op == "call_function"]:
        for name, value in bind(node).items():
            if name in _TRAINING and value is False:
                with module.graph.inserting_before(node):
                    flag = module.graph.create_node("get_attr", "training")
                set_argument(node, name, flag)
    module.recompile()
    return module.eval()
