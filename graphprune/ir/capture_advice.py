"""Advise on a model that torch.export can't capture: what it is about it, and what its author can do."""

from __future__ import annotations

from typing import Any

import torch

from .private_torch import pytree

__all__ = ["advice"]

_LEAVES = (
    torch.Tensor, int, float, complex, bool, str, type(None), torch.dtype, torch.device, torch.layout,
    torch.memory_format,
)  # fmt: skip
"""What torch.export takes for a leaf of inputs and outputs."""


def advice(model: torch.nn.Module, inputs: Any, results: Any, failure: Exception | None) -> str:
    """Say what keeps torch.export from capturing a model, as far as that can be told.

    Args:
        model: the model.
        inputs: its example inputs, in any structure.
        results: what it gave for them; ``None`` if it wasn't run.
        failure: torch's error.
    """
    return _closed_advice(inputs, results) or _structural_advice(model, failure)


def _closed_advice(inputs: Any, results: Any) -> str:
    """Advise on objects that torch.export doesn't open, such as a cache of a class of its own; ``""`` if there are none."""
    for what, values in (("takes", inputs), ("gives", results)):
        for leaf in pytree.tree_leaves(values):
            if not isinstance(leaf, _LEAVES):
                kind = type(leaf)
                return (
                    f"the model {what} an object of class {kind.__name__}, which torch.export doesn't open: register the "
                    "class by torch.utils._pytree.register_pytree_node, with flatten_with_keys_fn, make it a dataclass, or let a module around "
                    "the model take and give tensors, lists, tuples and dicts"
                )
    return ""


def _structural_advice(model: torch.nn.Module, failure: Exception | None) -> str:
    if _packed(failure):
        return (
            "packed sequences can't be captured: let the model run its recurrent layers on padded ones, "
            "at least for the time of the cut"
        )
    tensors = (*model.parameters(), *model.buffers())
    if any(tensor.is_inference() for tensor in tensors):
        return (
            "the model was made within torch.inference_mode, whose tensors can't be captured: make it outside, or give "
            "copy.deepcopy(model)"
        )
    scripted = [
        name for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)
    ]
    if scripted:
        return (
            f"{scripted[0] or 'it'} is compiled by torch.jit.script: give the Python module instead"
        )
    return (
        "data-dependent control flow, values that leave the tensors (printing, .numpy(), .item(), also in hooks), and "
        "derivatives within forward can't be captured; see "
        "torch.export's documentation, or export the model yourself and pass the .pt2 file"
    )


def _packed(error: BaseException | None) -> bool:
    """Whether an error came out of a recurrent layer that runs on a packed sequence."""
    traceback = error.__traceback__ if error else None
    while traceback:
        frame = traceback.tb_frame
        if frame.f_code.co_filename == torch.nn.modules.rnn.__file__:
            return frame.f_locals.get("batch_sizes") is not None
        traceback = traceback.tb_next
    return False
