"""A call as its rule sees it: arguments by name, and what may be said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, Labels, unlabelled
from graphprune.errors import InternalError
from graphprune.ops.call import Call

aten = torch.ops.aten


class Scene:
    """A call on an input ``x`` of ``[2, 6]`` and a stored ``w`` of ``[6]``, with their labels."""

    def __init__(self, operator: Any, *args: Any, **kwargs: Any) -> None:
        self.labels = Labels()
        graph = fx.Graph()
        self.x, self.w = graph.placeholder("x"), graph.placeholder("w")
        self.x.meta["val"], self.w.meta["val"] = torch.zeros(2, 6), torch.zeros(6)
        names = {"x": self.x, "w": self.w}
        args = pytree.tree_map(lambda a: names.get(a, a) if isinstance(a, str) else a, args)
        self.node = graph.call_function(operator, args, kwargs)
        self.node.meta["val"] = torch.zeros(2, 6)
        self.channels = self.labels.fresh(6)
        self.layouts: dict[fx.Node, Any] = {
            self.x: (unlabelled(2), self.channels),
            self.w: (self.channels,),
        }
        self.cache: dict[Any, Axis] = {}

    def call(
        self, *, quiet: bool = True, allow_inexact: bool = False, on_constants: bool = False
    ) -> Call:
        return Call(
            self.node,
            7,
            self.labels,
            self.layouts,
            self.cache,
            {self.w: torch.arange(6)},
            quiet=lambda *_: quiet,
            allow_inexact=allow_inexact,
            on_constants=on_constants,
        )

    @property
    def frozen(self) -> bool:
        return not self.labels.resolve(self.channels).any()


def test_arguments_are_found_by_name_with_their_defaults() -> None:
    scene = Scene(aten.add.Tensor, "x", "w")
    call = scene.call()
    assert (call["self"], call["other"], call["alpha"]) == (scene.x, scene.w, 1)
    assert call.get("nothing") is None
    with pytest.raises(KeyError):
        call["nothing"]
    assert call.layout("other") is scene.layouts[scene.w]
    assert call.first is call.layout(scene.x)
    assert (call.rank("self"), call.rank("other")) == (2, 1)
    assert (call.dim(-1, 2), call.dim(1, 2)) == (1, 1)
    assert call.out_shape == (2, 6)
    assert call.out_shapes == [(2, 6)]


def test_lists_of_tensors_have_a_layout_each() -> None:
    scene = Scene(aten.cat.default, ["x", "x"], 1)
    call = scene.call()
    assert call.layouts("tensors") == [scene.layouts[scene.x]] * 2
    scene.layouts[scene.x] = [(unlabelled(1),)]
    with pytest.raises(InternalError, match="not a single tensor"):
        call.layouts("tensors")


def test_labels_of_a_call_are_made_once() -> None:
    scene = Scene(aten.relu.default, "x")
    first = scene.call().fresh(3, "key")
    assert scene.call().fresh(3, "key") is first
    assert scene.call().fresh(3, "other") is not first


def test_whole_numbers_that_are_stored_are_known() -> None:
    scene = Scene(aten.add.Tensor, "x", "w")
    found = scene.call().constant("other")
    assert found is not None
    assert found.tolist() == [0, 1, 2, 3, 4, 5]
    assert scene.call().constant("self") is None


def test_frozen_rows_are_logged_with_the_link_of_the_call() -> None:
    scene = Scene(aten.relu.default, "x")
    scene.call().freeze(scene.channels)
    assert scene.frozen
    assert [event.link for event in scene.labels.log] == [7]


def test_a_call_on_stored_tensors_holds_what_it_would_freeze() -> None:
    scene = Scene(aten.relu.default, "x")
    call = scene.call(on_constants=True)
    call.freeze(scene.channels)
    call.contract("self", 1, scene.channels)
    call.scale("self", lambda _: 2.0)
    assert not scene.frozen
    assert len(call.facts.needed_whole) == 2
    assert (call.facts.contractions, call.facts.scales) == ([], {})


@pytest.mark.parametrize(
    ("quiet", "centred", "allow_inexact", "held"),
    [
        (True, False, False, False),
        (False, False, False, True),
        (True, True, False, True),
        (False, False, True, False),
        (True, True, True, False),
    ],
)
def test_a_statistic_holds_its_axis_unless_zeros_take_no_part(
    *, quiet: bool, centred: bool, allow_inexact: bool, held: bool
) -> None:
    scene = Scene(aten.mean.dim, "x", [1])
    call = scene.call(quiet=quiet, allow_inexact=allow_inexact)
    call.statistic("self", [1], centred=centred)
    assert scene.frozen == held == call.facts.mixes == call.facts.opens
    if not held:
        (found,) = call.facts.statistics
        assert (found.argument, found.dims, found.exact) == ("self", (1,), quiet and not centred)


def test_what_a_sweep_held_stays_held_in_the_next_one() -> None:
    scene = Scene(aten.mean.dim, "x", [1])
    scene.call(quiet=False).statistic("self", [1])
    again = scene.call(quiet=True)
    again.statistic("self", [1])
    assert again.facts.mixes
    assert not again.facts.statistics


def test_sizes_follow_the_layout_of_the_result() -> None:
    scene = Scene(aten.view.default, "x", [2, 6])
    call = scene.call()
    call.rewrite_sizes("size", (unlabelled(2), scene.channels))
    alive = np.ones(len(scene.labels), dtype=bool)
    assert call.facts.rewrites["size"](Kept(scene.labels, alive)) == [2, 6]
    alive[scene.channels[:2, 0]] = False
    assert call.facts.rewrites["size"](Kept(scene.labels, alive)) == [2, 4]
