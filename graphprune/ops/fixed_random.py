"""Random draws replaced by fixed numbers, so that what programs compute can be compared and measured.

A smaller program draws fewer numbers, or others, and runs of one program differ by chance. Where
a program draws any, every run of it is made with stand-ins: a uniform number is the middle of its
interval, a normal one half a standard deviation above its mean (at the mean, what it is multiplied by
would not be seen). The models that are returned and written draw as before.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.ir.devices import CPU
from graphprune.ir.nodes import bind
from graphprune.ir.private_torch import OpOverload, TorchDispatchMode, schema_of

__all__ = ["MIDDLE", "NORMAL", "FixedRandom", "fix_random_numbers", "random_calls"]

MIDDLE = 0.5
"""Fixed value of a uniform number, as a fraction of its interval."""

NORMAL = 0.5
"""Fixed value of a normal number, in standard deviations above its mean."""

_SEED = 0
"""Seed of draws without a fixed value, such as a permutation. What they shape is never cut."""

aten = torch.ops.aten

_SWITCHES = {
    **dict.fromkeys(
        (aten.rrelu.default, aten.rrelu_.default, aten.rrelu_with_noise.default), "training"
    ),
    aten.scaled_dot_product_attention.default: "dropout_p",
}
"""Argument that says whether an operator draws; of all other operators it is called ``train``."""


def random_calls(graph: fx.Graph) -> tuple[fx.Node, ...]:
    """List the calls of a graph that draw random numbers, those inside regions included."""
    calls: list[fx.Node] = []
    for node in graph.nodes:
        body = _body(graph, node)
        calls.extend(random_calls(body) if body is not None else [node] * _draws(node))
    return tuple(calls)


def _body(graph: fx.Graph, node: fx.Node) -> fx.Graph | None:
    """Return the graph of a region, where a node names one."""
    if node.op != "get_attr" or graph.owning_module is None:
        return None
    value = attrgetter(str(node.target))(graph.owning_module)
    return value.graph if isinstance(value, fx.GraphModule) else None


def _draws(node: fx.Node) -> bool:
    operator = node.target
    if not isinstance(operator, OpOverload):
        return False
    switch = _SWITCHES.get(operator, "train")
    return bool(bind(node).get(switch, torch.Tag.nondeterministic_seeded in operator.tags))


def fix_random_numbers(
    graph: fx.Graph, *, rounded: bool = False
) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which the random calls of a graph give fixed numbers.

    Args:
        graph: one without such calls runs as it is.
        rounded: see ``FixedRandom``.
    """
    return FixedRandom(rounded=rounded) if random_calls(graph) else contextlib.nullcontext()


class FixedRandom(TorchDispatchMode):
    """A context in which operators give fixed numbers in the place of random ones.

    Args:
        rounded: draws of 0 or 1 give the more likely of the two, as a comparison with a uniform number
            does; otherwise their probability, so that dropout changes nothing.
    """

    def __init__(self, *, rounded: bool = False) -> None:
        super().__init__()
        self._rounded = rounded

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator call with fixed numbers."""
        return self.call(func, args, kwargs or {})

    def call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run one operator call with fixed numbers in the place of what it draws."""
        if torch.Tag.nondeterministic_seeded not in getattr(func, "tags", ()):
            return func(*args, **kwargs)
        given = {a.name: a.default_value for a in schema_of(func).arguments}
        given |= dict(zip(given, args, strict=False)) | dict(kwargs)
        switch = _SWITCHES.get(func, "train")
        if given.get(switch):
            return func(**given | {switch: False})
        stand_in = _STAND_INS.get(func)
        if func in _CHANCES:
            stand_in = _rounded if self._rounded else _chance
        value = None if stand_in is None else stand_in(given)
        if isinstance(value, Tensor):
            value = value.clone()  # it may be what is overwritten
        with _seeded(_device(args, kwargs)):
            result = func(*args, **kwargs)
        return result if value is None else _filled(result, value)


def _device(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device:
    """Find the device that a call draws on: the one that it names, or that of its operands."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    return next((x.device for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), CPU)


@contextlib.contextmanager
def _seeded(device: torch.device) -> Generator[None]:
    """Draw the same numbers each time within a context; all generators go on afterwards as if none had been drawn."""
    if device.type in ("cpu", "meta"):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_SEED)  # torch.manual_seed would seed all GPUs too
            yield
        return
    devices = range(torch.get_device_module(device).device_count())
    with torch.random.fork_rng(devices, device_type=device.type):
        torch.manual_seed(_SEED)
        yield


def _filled(result: Tensor, value: Any) -> Tensor:
    return result.copy_(value) if isinstance(value, Tensor) else result.fill_(value)


def _uniform(given: Mapping[str, Any]) -> Any:
    low, high = given.get("from", 0.0), given.get("to", 1.0)
    return low + MIDDLE * (high - low)


def _normal(given: Mapping[str, Any]) -> Any:
    return given.get("mean", 0.0) + NORMAL * given.get("std", 1.0)


def _exponential(given: Mapping[str, Any]) -> Any:
    return -math.log(1 - MIDDLE) / given["lambd"]


def _whole(given: Mapping[str, Any]) -> Any:
    low = given.get("low", 0)
    return math.floor(low + MIDDLE * (given["high"] - low))


def _chance(given: Mapping[str, Any]) -> Any:
    return given["p"] if given.get("p") is not None else given["self"]


def _rounded(given: Mapping[str, Any]) -> Any:
    p = _chance(given)
    return (p > MIDDLE).to(p) if isinstance(p, Tensor) else float(p > MIDDLE)


_STAND_INS: dict[Any, Callable[[Mapping[str, Any]], Any]] = {
    **dict.fromkeys(
        (
            aten.rand.default,
            aten.rand.generator,
            aten.rand_like.default,
            aten.uniform_.default,
            aten.uniform.default,
        ),
        _uniform,
    ),
    **dict.fromkeys(
        (
            aten.randn.default,
            aten.randn.generator,
            aten.randn_like.default,
            aten.normal_.default,
            aten.normal.Tensor_Tensor,
            aten.normal.Tensor_float,
            aten.normal.float_Tensor,
            aten.normal.float_float,
            aten.normal_functional.default,
        ),
        _normal,
    ),
    **dict.fromkeys((aten.exponential_.default, aten.exponential.default), _exponential),
    **dict.fromkeys(
        (
            aten.randint.default,
            aten.randint.low,
            aten.randint_like.default,
            aten.randint_like.low_dtype,
        ),
        _whole,
    ),
}

_CHANCES = {
    aten.bernoulli.default,
    aten.bernoulli.p,
    aten.bernoulli.Tensor,
    aten.bernoulli_.float,
    aten.bernoulli_.Tensor,
}
