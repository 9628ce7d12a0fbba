"""Read calibration and labelled data: images, files of tensors, or the user's own code.

========================  ====================================================================
``files``                 the files of a folder or of a zip archive
``images``                images from either, with labels from the folders they lie in
``arrays``                ``.npy``, ``.npz``, ``.safetensors``
``dataset_folder``        folders that the ``datasets`` library saved
``source``                which of these a user named; inputs from Python
``calibration``           inputs in batches that a program accepts
``labelled``              accuracy on inputs with labels
``corruptions``           accuracy on corrupted images
``classes``               how many classes a classifier has
========================  ====================================================================
"""

from __future__ import annotations

from .arrays import Arrays
from .corruptions import robustness
from .images import Images, images
from .labelled import accuracy
from .source import Code, Source, calibrate, open_source, prepared

__all__ = [
    "Arrays",
    "Code",
    "Images",
    "Source",
    "accuracy",
    "calibrate",
    "images",
    "open_source",
    "prepared",
    "robustness",
]
