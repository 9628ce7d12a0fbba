"""When the methods that plan anew do so, and which options they refuse."""

from __future__ import annotations

import pytest

from graphprune.errors import OptionError
from graphprune.training.group_lasso import GroupLasso
from graphprune.training.proximal import Proximal
from graphprune.training.replanned import Replanned, rounds


def test_plans_are_made_at_equal_distances() -> None:
    assert rounds(100, 0.6, 3) == {0: 1.0, 20: 1.0, 40: 1.0, 60: 1.0}
    assert rounds(100, 0.6, 0) == {0: 1.0}


@pytest.mark.parametrize("kind", [GroupLasso, Proximal])
def test_methods_plan_until_the_plan_stays(kind: type[Replanned]) -> None:
    assert kind(fixed=0.6, updates=3).plans(100) == rounds(100, 0.6, 3)
    with pytest.raises(OptionError, match="out of range"):
        kind(fixed=0.8, faded=0.6)
