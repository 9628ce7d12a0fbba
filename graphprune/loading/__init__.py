"""Read model files: programs, ONNX, state dicts, TorchScript. How is a file read, and what is refused?

The folder isn't called ``load``: ``graphprune.load`` is a public function, which a subpackage of
that name would replace.
"""

from .file_content import read_checkpoint
from .model_file import Loaded, check_finite, load

__all__ = ["Loaded", "check_finite", "load", "read_checkpoint"]
