"""Join the processes that ``torchrun`` starts: all compute, the first one writes."""

from __future__ import annotations

import os

__all__ = ["join"]


def join() -> int:
    """Join the other processes, if there are any.

    Returns:
        The number of this one.

    ``torchrun`` says in the environment who is there. On CUDA they talk by nccl, else by gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return distributed.get_rank()
