"""Devices: which one the network runs on, and where float64 is.

Programs, analyses, plans and results are on the CPU. ``Calibration`` says where the network runs on its batches, and
moves them there; what runs a graph moves the stored tensors there, once (``run_on_device.py``). What is solved is
in float64 (``wide``), on the same device unless that has none. ``fill_tensors`` brings the results back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from typing import Any

import torch

from graphprune.errors import LoadError, OptionError, first_line

from .private_torch import pytree

__all__ = [
    "CPU",
    "described",
    "device_count",
    "device_of",
    "find_device",
    "forked_random",
    "full_float32",
    "put",
    "solver",
    "to_solver",
    "wide",
]

CPU = torch.device("cpu")

BEST_FIRST = ("cuda", "mps", "cpu")
"""Kinds of device, in the order that ``auto`` looks for them."""

WITHOUT_FLOAT64 = ("mps",)
"""Kinds of device that have no float64, and few operators of linear algebra."""


def device_count(kind: str) -> int:
    """Count the devices of a kind on this machine that torch can use; 0 of kinds that aren't supported."""
    match kind:
        case "cpu":
            return 1
        case "cuda":
            return torch.cuda.device_count() if torch.cuda.is_available() else 0
        case "mps":
            return int(torch.backends.mps.is_available())
        case _:
            return 0


def find_device(asked: str | torch.device) -> torch.device:
    """Find the device that a user asks for, with its number.

    Args:
        asked: as torch writes it, such as ``cuda:1``; or ``auto``: CUDA if there is any, else MPS, else the CPU.

    Raises:
        OptionError: if there is no such device here.
    """
    if asked == "auto":
        asked = next(kind for kind in BEST_FIRST if device_count(kind))
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise OptionError(
            f"no device is called {str(asked)!r}",
            hint="write auto, cpu, cuda, cuda:1 or mps",
            options=("device",),
        ) from error
    count = device_count(device.type)
    if (device.index or 0) >= count:
        raise OptionError(
            f"there is no device {device} here", hint=_instead(device, count), options=("device",)
        )
    if device.type == "cpu":
        return CPU
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # a driver that is too old, for example
        raise OptionError(
            f"the device {device} can't be used: {first_line(error)}",
            hint="cpu always works",
            options=("device",),
        ) from error


def _instead(device: torch.device, count: int) -> str:
    """Say what to do where there is no such device."""
    if count:
        return f"there are {count} of {device.type}, numbered from 0"
    if device.type == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA; install one with it, or use cpu or auto"
    if device.type == "cuda":
        return "does nvidia-smi list a GPU, and CUDA_VISIBLE_DEVICES not hide it? cpu and auto always work"
    return "cpu and auto always work"


def described(device: torch.device) -> str:
    """Name a device, with what torch knows of its make."""
    make = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return f"{device} ({make})" if make else str(device)


def device_of(tensors: Iterable[Any]) -> torch.device:
    """Return the device that tensors are on; the CPU, if there are none.

    Raises:
        LoadError: if they are on several.
    """
    found = list(dict.fromkeys(t.device for t in tensors if isinstance(t, torch.Tensor)))
    real = [device for device in found if device.type != "meta"]
    if len(real) > 1:
        raise LoadError(
            f"the model's tensors are on several devices: {', '.join(map(str, real))}",
            hint=f"move all of it to one, as by model.to({str(real[0])!r})",
        )
    return found[0] if found else CPU


def put(value: Any, device: torch.device) -> Any:
    """Move the tensors of a value to a device; those that are there already stay the same objects."""
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), value)


def solver(device: torch.device) -> torch.device:
    """Return where linear algebra is done for values on a device: there, or on the CPU if it has no float64."""
    return CPU if device.type in WITHOUT_FLOAT64 else device


def to_solver(tensor: torch.Tensor) -> torch.Tensor:
    """Move a tensor to where linear algebra is done for it."""
    return tensor.to(solver(tensor.device))


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Convert a tensor to float64, where linear algebra is done for it."""
    return to_solver(tensor).to(torch.float64)


@contextlib.contextmanager
def full_float32() -> Generator[None]:
    """Let CUDA compute float32 in full within a context.

    By default it rounds the operands of convolutions to 10 bits (TF32): errors of 1e-3, where the CPU makes 1e-6.
    """
    if not device_count("cuda"):
        yield
        return
    # Not fp32_precision: what reads these flags, as torch.export does, fails where both ways of setting them are mixed.
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def forked_random(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context after which the CPU's and a device's random numbers go on as if nothing had been drawn."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device.index or 0], device_type=device.type)
