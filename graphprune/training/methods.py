"""The table of methods that prune while training."""

from __future__ import annotations

from graphprune.errors import OptionError

from .at_init import AtInit
from .gradual import Gradual
from .group_lasso import GroupLasso
from .mask_sparsity import MaskSparsity
from .method import Method
from .progressive import Progressive
from .proximal import Proximal

__all__ = ["METHODS", "method_of"]

METHODS: dict[str, Method] = {
    method.name: method
    for method in (GroupLasso(), MaskSparsity(), Proximal(), Progressive(), Gradual(), AtInit())
}
"""Methods by their name, with their default options."""


def method_of(method: str | Method) -> Method:
    """Return the method of a name, with its default options; one of your own as it is.

    Raises:
        OptionError: if there is none of that name.
    """
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise OptionError(f"no method {method!r}", hint=f"one of {', '.join(METHODS)}")
    return METHODS[method]
