"""A device that isn't there: its tensors are CPU tensors behind a mark, and what mixes the two kinds fails.

A tensor that is made without ``device=``, or not moved, goes unnoticed on the CPU and is an error on a GPU. Within
``FakeDevice`` it is an error here too: tensors on the device ``fakegpu`` have that name, operators refuse to mix them
with others as those of CUDA do (a single number may be on the CPU), and so does ``numpy()``. What comes back to the
CPU is noted with the function that moved it.

torch has one name that it lets be taken by devices from outside, with stand-ins for what it asks of them. It stays taken in the
process; without a context the device isn't available, or torch would choose it for what has no device of its own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

from graphprune.ir import devices

__all__ = ["NAME", "FakeDevice", "MixedDevicesError", "OnDevice", "fake_device"]

aten = torch.ops.aten

NAME = "fakegpu"


class MixedDevicesError(RuntimeError):
    """An operator was given tensors of the device and of the CPU, or float64 on a device without it."""


class OnDevice(torch.Tensor):
    """A tensor on the device; ``inner`` holds its values."""

    __slots__ = ("fake", "inner")  # not among the attributes, which a cut copies
    inner: torch.Tensor
    fake: FakeDevice

    @staticmethod
    def __new__(cls, inner: torch.Tensor, fake: FakeDevice) -> OnDevice:  # noqa: PYI034
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=fake.device,
        )

    def __init__(self, inner: torch.Tensor, fake: FakeDevice) -> None:
        self.inner, self.fake = inner, fake

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        marked = (x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, OnDevice))
        return next(marked).fake.call(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def __repr__(self) -> str:
        return f"OnDevice({tuple(self.shape)}, {self.fake.device})"


class FakeDevice(TorchDispatchMode):
    """A context in which a device exists.

    Args:
        float64: whether the device has float64.

    Attributes:
        calls: how often each operator ran on the device.
        plain: largest leading size of the inputs of each operator that ran on the CPU.
        returned: functions of graphprune that brought values to the CPU.
    """

    def __init__(self, *, float64: bool = True) -> None:
        super().__init__()
        _register()
        self.device, self.float64 = torch.device(NAME, 0), float64
        self.calls: Counter[Any] = Counter()
        self.plain: Counter[Any] = Counter()
        self.returned: Counter[str] = Counter()

    def __deepcopy__(self, memo: Any) -> FakeDevice:
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(func, args, kwargs or {})

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator where its tensors are, or where it is told to."""
        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        marked = [x for x in tensors if isinstance(x, OnDevice)]
        wanted = kwargs.get("device")
        here = bool(marked) if wanted is None else torch.device(wanted).type == self.device.type
        if func is aten.copy_.default:
            here = isinstance(args[0], OnDevice)
        moves = func in (aten._to_copy.default, aten.copy_.default)
        others = [x for x in tensors if not isinstance(x, OnDevice) and x.ndim]
        if marked and others and not moves:
            sizes = [(tuple(x.shape), str(x.device)) for x in tensors]
            raise MixedDevicesError(f"{func} mixes devices: {sizes}")
        if not marked and not here:
            plain = (torch.Tensor, torch.nn.Parameter)
            sizes = [len(x) for x in tensors if type(x) in plain and x.ndim]
            self.plain[func] = max(self.plain[func], *sizes[:1], 0)
            return func(*args, **kwargs)
        if marked and moves and not here:
            self.returned[_mover()] += 1
        if here:
            self.calls[func] += 1
        known = {id(x.inner): x for x in marked}
        known |= {id(x): x for x in others}
        args, kwargs = pytree.tree_map_only(OnDevice, lambda x: x.inner, (args, kwargs))
        if wanted is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        result = func(*args, **kwargs)

        def placed(value: torch.Tensor) -> torch.Tensor:
            if id(value) in known:
                return known[id(value)]
            return self.mark(value) if here else value

        return pytree.tree_map_only(torch.Tensor, placed, result)

    def mark(self, value: torch.Tensor) -> OnDevice:
        """Put a tensor on the device as it is."""
        if value.dtype in (torch.float64, torch.complex128) and not self.float64:
            raise MixedDevicesError(f"{self.device} has no {value.dtype}")
        return OnDevice(value, self)


def _mover() -> str:
    """Name the innermost function of graphprune that is running."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("graphprune."):
            return f"{module.removeprefix('graphprune.')}.{frame.f_code.co_name}"
    return "?"


class _Module(_DummyBackendModule):
    """What torch asks of a device, beside what its own stand-in has."""

    available = False

    def is_available(self) -> bool:
        return self.available

    def device_count(self) -> int:
        return int(self.available)

    def get_rng_state(self, device: int) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: int) -> None:
        pass


@cache
def _register() -> None:
    """Let torch know the device."""
    _setup_privateuseone_for_python_backend(NAME, _Module())


@contextmanager
def fake_device(monkeypatch: pytest.MonkeyPatch, *, float64: bool = True) -> Generator[FakeDevice]:
    """Make the device exist within a context, and the only one beside the CPU."""
    monkeypatch.setattr(devices, "BEST_FIRST", (NAME, "cpu"))
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", () if float64 else (NAME,))
    monkeypatch.setattr(devices, "device_count", lambda kind: int(kind in (NAME, "cpu")))
    before = (
        torch._C._only_lift_cpu_tensors(),
        torch.__future__.get_overwrite_module_params_on_conversion(),
    )
    # torch.tensor(..., device=) moves what it made on the CPU.
    torch._C._set_only_lift_cpu_tensors(True)
    monkeypatch.setattr(_Module, "available", True)
    try:
        # On this thread, since others were started before the device was known.
        with torch.autograd.set_multithreading_enabled(False), FakeDevice(float64=float64) as fake:
            yield fake
    finally:
        monkeypatch.setattr(_Module, "available", False)
        torch._C._set_only_lift_cpu_tensors(before[0])
        torch.__future__.set_overwrite_module_params_on_conversion(before[1])
