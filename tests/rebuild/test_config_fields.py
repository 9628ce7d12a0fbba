"""Which fields of a config are found to set which widths."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.rebuild.config_fields import ConfigFields, WidthField, config_fields
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
