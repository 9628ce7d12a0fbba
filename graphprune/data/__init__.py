"""Data in: images, files of tensors or the user's own code become inputs of a program.

========================  ====================================================================
``files``                 the files of a folder or of a zip archive
``images``                images from either, with labels from the folders they lie in
``arrays``                ``.npy``, ``.npz``, ``.safetensors``
``source``                what calibration data may be; ``calibrate``
``labelled``              accuracy on inputs with labels
``corruptions``           the same on images made worse
========================  ====================================================================
"""

from __future__ import annotations

from .arrays import Arrays
from .corruptions import robustness
from .images import Images, images
from .labelled import accuracy
from .source import Code, Source, calibrate, open_source

__all__ = [
    "Arrays",
    "Code",
    "Images",
    "Source",
    "accuracy",
    "calibrate",
    "images",
    "open_source",
    "robustness",
]
