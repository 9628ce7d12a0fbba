"""The table of operator rules, ``registry.RULES``, which importing this package fills.

What does an operator do to channels, what does it cost, and what of its arguments changes when channels go?
Each operator has one entry that answers; ``README.md`` says how to read one.

Families of operators stand in a file each; ``registry`` and ``traits`` say what an entry holds,
``call`` and ``facts`` what a rule sees and says.
"""

from __future__ import annotations

from . import (
    attention,
    concatenate,
    conv,
    create,
    dimension_order,
    distance,
    einsum,
    either,
    elementwise,
    embedding,
    fake_quantize,
    grouped_product,
    identity,
    keep_axes,
    linear,
    norm,
    patches,
    permute,
    pick_rows,
    pool,
    recurrent,
    reduce,
    scatter,
    shape,
    softmax,
    sort,
    spectral,
    ternary,
    whole_node,
)
from .call import Call
from .facts import Facts
from .registry import (
    RULES,
    Rule,
    Sample,
    find,
    flat_limits,
    form_of,
    is_identity,
    passes_value_on,
    rule,
    sample,
    state_traits,
    traits_of,
)
from .traits import Flat, Form, Traits

FAMILIES = (
    attention,
    concatenate,
    conv,
    create,
    dimension_order,
    distance,
    einsum,
    either,
    elementwise,
    embedding,
    fake_quantize,
    grouped_product,
    identity,
    keep_axes,
    linear,
    norm,
    patches,
    permute,
    pick_rows,
    pool,
    recurrent,
    reduce,
    scatter,
    shape,
    softmax,
    sort,
    spectral,
    ternary,
    whole_node,
)
"""Modules of rules, one for each family of operators."""

__all__ = [
    "FAMILIES",
    "RULES",
    "Call",
    "Facts",
    "Flat",
    "Form",
    "Rule",
    "Sample",
    "Traits",
    "find",
    "flat_limits",
    "form_of",
    "is_identity",
    "passes_value_on",
    "rule",
    "sample",
    "state_traits",
    "traits_of",
]
