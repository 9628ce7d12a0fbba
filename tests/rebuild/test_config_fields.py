"""Which fields of a config are found to set which widths."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.rebuild.config_fields import ConfigFields, config_fields
from graphprune.rebuild.config_trials import WidthField
from graphprune.rebuild.configured import Configured
from tests.configured_nets import Config, Net, make, tokens


def found(net: Net) -> tuple[ConfigFields, dict[tuple[str, ...], set[int]]]:
    """Return the fields, and for each set of them the widths of their groups."""
    program = trace(net, tokens())
    analysis = analyse(program)
    fields = config_fields(net, program, analysis)
    widths = {
        tuple(sorted(s.fields)): {analysis.groups[g].width for g in s.groups}
        for s in fields.settings
    }
    return fields, widths


@pytest.mark.parametrize("inner", [24, 20, None])
def test_fields_are_found_alone_and_together(inner: int | None) -> None:
    fields, widths = found(make(inner=inner))
    assert widths == {("inner",): {inner or 32}, ("heads", "width"): {16, 4}}
    assert [s.parts for s in fields.settings] == [inner or 32, 4]
    assert all("number in the code" in why for why in fields.reasons.values())
    assert len(fields.reasons) == 4  # the widths of heads, of queries and of values


class _Computed(Net):
    """Adds a table that is computed from the config, in the widths of the two layers."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        inner = config.inner or 1
        self.register_buffer("table", torch.linspace(0, 1, inner), persistent=False)
        self.extra = nn.Linear(config.width, inner)
        self.back = nn.Linear(inner, config.classes)

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) + self.back(self.extra(self.embed(ids).mean(1)) * self.table)


def test_what_no_file_of_weights_holds_cannot_be_cut() -> None:
    fields, widths = found(make(_Computed, inner=24))
    assert ("inner",) not in widths
    assert "the code computes table" in " ".join(fields.reasons.values())
    assert ("heads", "width") in widths


class _Fixed(Net):
    """Leaves the two layers at a width that no field states."""

    def __init__(self, config: Config) -> None:
        super().__init__(Config(**{**config.to_dict(), "inner": 12}))
        self.config = config


def test_a_width_without_a_field_is_named() -> None:
    fields, widths = found(make(_Fixed))
    assert list(widths) == [("heads", "width")]
    assert fields.reasons["blocks.0.up"].startswith(("no field", "words: "))


@dataclass
class _Parts:
    """A config within a config."""

    inner: int = 24

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Staged:
    """Widths in a list, and in a config within; names of classes, which are numbers too."""

    widths: list[int] = field(default_factory=lambda: [12, 20])
    kernels: tuple[int, ...] = (3, 3)
    parts: _Parts = field(default_factory=_Parts)
    names: dict[str, int] = field(default_factory=lambda: {"cat": 1, "dog": 2})
    ignored: list[int] = field(default_factory=lambda: [*range(2, 50)])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> _Staged:
        return cls(**{**values, "parts": _Parts(**values["parts"])})


class _Stages(nn.Sequential):
    def __init__(self, config: _Staged) -> None:
        sizes = [3, *config.widths, config.parts.inner]
        pairs = zip(sizes[:-1], sizes[1:], (*config.kernels, 1), strict=True)
        layers = [nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in pairs]
        super().__init__(*layers, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.append(nn.Linear(config.parts.inner, len(config.names)))
        self.config = config


def test_lists_and_configs_within_hold_fields_too() -> None:
    torch.manual_seed(0)
    net = _Stages(_Staged()).eval()
    program = trace(net, (torch.randn(2, 3, 6, 6),))
    analysis = analyse(program)
    fields = config_fields(net, program, analysis)
    assert [dict(s.fields) for s in fields.settings] == [
        {"widths.0": 12}, {"widths.1": 20}, {"parts.inner": 24},
    ]  # fmt: skip
    assert not fields.reasons
    assert fields.values([6, 5, 24]) == {"widths.0": 6, "widths.1": 5, "parts.inner": 24}
    small = fields.configured.build(fields.values([6, 5, 8]))
    assert [tuple(p.shape) for p in small.parameters() if p.ndim == 4] == [
        (6, 3, 3, 3), (5, 6, 3, 3), (8, 5, 1, 1),
    ]  # fmt: skip


@dataclass
class _Turned(Config):
    """Keys have as many heads as it says, or must have as many as the queries."""

    groups: int = 4


class _Rotated(Net):
    """Computes a table of angles for the width of a head, and refuses unlike numbers of heads."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        head = config.width // config.heads
        self.register_buffer("angles", torch.arange(head) / head, persistent=False)
        if getattr(config, "groups", config.heads) != config.heads:
            raise ValueError("heads must be alike")

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) + self.angles.sum()


@pytest.mark.parametrize(
    ("config", "together"),
    [(Config(inner=24), {"heads", "width"}), (_Turned(inner=24), {"groups", "heads", "width"})],
)
def test_fields_of_which_a_tensor_is_computed_go_together(
    config: Config, together: set[str]
) -> None:
    torch.manual_seed(0)
    _, widths = found(_Rotated(config).eval())
    assert widths == {("inner",): {24}, tuple(sorted(together)): {16, 4}}


class _Epsilon(Net):
    """Has norms whose epsilon no field holds, in one of its blocks or in all."""

    norms: tuple[int, ...] = (0, 1)
    kind: type[nn.Module] = nn.RMSNorm

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for number in self.norms:
            self.blocks[number].norm = self.kind(config.width, 0.25)


class _OneEpsilon(_Epsilon):
    norms = (1,)


class _Layered(_Epsilon):
    kind = nn.LayerNorm


@pytest.mark.parametrize("kind", [_Epsilon, _OneEpsilon, _Layered])
def test_a_number_of_the_code_that_changes_with_a_width_has_to_be_in_the_config(
    kind: type[Net],
) -> None:
    net = make(kind, inner=24)
    program = trace(net, tokens())
    analysis = analyse(program, allow_inexact=True)
    fields = config_fields(net, program, analysis)
    assert [dict(s.fields) for s in fields.settings] == [{"inner": 24}]
    whys = [why for why in fields.reasons.values() if "no field holds a number" in why]
    assert len(whys) == 3  # the stream, and the heads of two blocks
    assert all(why.startswith(("heads with width", "width with heads")) for why in whys)
    assert all(why.endswith(": 0.25") for why in whys)


def test_values_are_products_of_what_the_settings_leave() -> None:
    settings = (
        WidthField({"heads": 8}, (0,), 4),
        WidthField({"heads": 8, "keys": 2}, (1, 2), 2),
        WidthField({"inner": 6}, (3,), 6),
    )
    fields = ConfigFields(Configured(nn.Identity(), {}), (4, 2, 2, 6, 5), settings, {"e": "why"})
    assert fields.firsts == (0, 1, 1, 3, 4)
    assert fields.parts == (4, 2, 2, 6, 1)
    assert fields.values([3, 1, 1, 5, 5]) == {"heads": 3, "keys": 1, "inner": 5}
    assert fields.values([4, 2, 2, 6, 5]) == {"heads": 8, "keys": 2, "inner": 6}
