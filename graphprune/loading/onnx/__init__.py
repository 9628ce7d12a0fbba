"""Import ONNX: a file becomes an ExportedProgram of ATen calls. How is an ONNX operator read?

``read_graph`` turns bytes into a checked graph, ``operators`` is the table of ONNX operators (one
entry each, in the files beside it), ``network`` runs them as an ``nn.Module``, and ``program``
exports the module with the file's own dynamic dimensions.
"""

from __future__ import annotations

from .operators import OPERATORS
from .program import Imported, import_onnx

__all__ = ["OPERATORS", "Imported", "import_onnx"]
