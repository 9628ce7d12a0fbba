"""Models that are built again from a config with other values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphprune.errors import LoadError, OptionError
from graphprune.rebuild.configured import Configured, called_alike
from tests.configured_nets import Config, Net, make, tokens


def test_a_model_is_built_with_other_values() -> None:
    configured = Configured.of(make(inner=24))
    built = configured.build({"width": 32, "inner": 10})
    assert isinstance(built, Net)
    assert built.get_parameter("blocks.1.up.weight").shape == (10, 32)
    assert all(p.is_meta for p in built.parameters())
    assert not any(p.is_meta for p in configured.build({}, device="cpu").parameters())
    assert configured.stated["width"] == 16


@pytest.mark.parametrize("changes", [{"heads": 3}, {"width": -4}, {"unheard": 1}])
def test_values_that_the_class_refuses(changes: dict[str, int]) -> None:
    with pytest.raises(LoadError, match="can't be built"):
        Configured.of(make()).build(changes)


class _Lists:
    """Holds a list, a tuple, and a config within, of which only some hold numbers of the model."""

    def __init__(self, **values: Any) -> None:
        self.given = values
        self.inner = Config(**values["inner"]) if "inner" in values else None

    def to_dict(self) -> dict[str, Any]:
        return self.given

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> _Lists:
        return cls(**values)


def test_values_within_values_have_names() -> None:
    net = nn.Linear(2, 2)
    inner = Config(inner=24).to_dict()
    net.config = _Lists(a=[1, 2], b=(3, 4), c=[*range(9)], d=[1, "x"], e={"f": 1}, inner=inner)  # type: ignore[assignment]
    configured = Configured.of(net)
    names = {"a.0", "a.1", "b.0", "b.1", "c", "d", "e", *(f"inner.{name}" for name in inner)}
    assert configured.values.keys() == names
    changed = configured.config({"a.1": 7, "b.0": 5, "inner.width": 8, "new": 1}).to_dict()
    assert (changed["a"], changed["b"], changed["new"]) == ([1, 7], [5, 4], 1)
    assert changed["inner"] == {**inner, "width": 8}
    assert configured.stated["a.1"] == 2
    assert net.config.to_dict()["inner"]["width"] == 16


class _Bare(nn.Linear):
    config = {"width": 3}  # noqa: RUF012 - what no library has


@pytest.mark.parametrize("model", [nn.Linear(2, 2), _Bare(2, 2), object()])
def test_what_has_no_config(model: object) -> None:
    with pytest.raises(OptionError, match="isn't built from a config") as caught:
        Configured.of(model)
    assert caught.value.options == ("keep_config",)


def test_what_is_built_is_called_alike() -> None:
    net = make()
    net.register_forward_hook(lambda _, __, out: (out, out))
    built = Configured.of(net).build({}, device="cpu")
    assert len(built(*tokens())) == 2
    plain = called_alike(make(), net)
    assert torch.equal(plain(*tokens())[1], net(*tokens())[0])
