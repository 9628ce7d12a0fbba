"""Operator rules. Importing this package fills the table ``registry.RULES``."""

from graphprune.ops import (
    attention,
    conv,
    create,
    elementwise,
    linear,
    norm,
    pool,
    recurrent,
    reduce,
    reorder,
    rows,
    shape,
)
from graphprune.ops.registry import RULES, Call, Facts, Kept, Rule, Sample, rule, sample

__all__ = [
    "RULES",
    "Call",
    "Facts",
    "Kept",
    "Rule",
    "Sample",
    "attention",
    "conv",
    "create",
    "elementwise",
    "linear",
    "norm",
    "pool",
    "recurrent",
    "reduce",
    "reorder",
    "rows",
    "rule",
    "sample",
    "shape",
]
