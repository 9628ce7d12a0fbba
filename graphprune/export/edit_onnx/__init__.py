"""Edit an ONNX file as a cut asks: its nodes, names, opset and metadata stay.

``edit`` replaces stored tensors by those of the cut program, ``rewriters`` is the table of what
changes in a node beside its weights, ``drop_branches`` takes out whole branches, ``editor`` reads and replaces
what nodes read, ``functions`` puts calls of local functions back. What can't be expressed raises ``EditError``; the caller then exports the program anew.
"""

from __future__ import annotations

from .edit import edit
from .functions import WRITTEN_OUT, shell_of, with_functions
from .stored_numbers import EditError

__all__ = ["WRITTEN_OUT", "EditError", "edit", "shell_of", "with_functions"]
