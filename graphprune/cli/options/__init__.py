"""Declare the arguments and options that several commands share, by subject.

``option_values.py``, ``model_source.py`` and ``data_sources.py`` turn their text into values.
"""

from __future__ import annotations

from .budgets import (
    FileSize,
    Flops,
    Latency,
    Lossless,
    MaxDrop,
    Memory,
    Params,
    PlanFile,
    Provider,
    Table,
    Threads,
)
from .data import Crop, Data, Interpolation, Mean, Samples, Seed, Size, Std, Val
from .flags import flag
from .models import (
    AllowInexact,
    Arch,
    IgnoreExtraKeys,
    Inputs,
    Model,
    Models,
    Outputs,
    StrictOps,
    TrustPickle,
)
from .running import Device, Force, Json, Quiet, Verbose
from .training import Augment, Distil, Finetune, Recover, Train
from .widths import (
    Allocator,
    AnyWidth,
    Depth,
    KeepClass,
    KeepConfig,
    MaxCut,
    MinChannels,
    Protect,
    RoundTo,
    ScoreName,
    Uniform,
)

__all__ = [
    "Allocator",
    "AllowInexact",
    "AnyWidth",
    "Arch",
    "Augment",
    "Crop",
    "Data",
    "Depth",
    "Device",
    "Distil",
    "FileSize",
    "Finetune",
    "Flops",
    "Force",
    "IgnoreExtraKeys",
    "Inputs",
    "Interpolation",
    "Json",
    "KeepClass",
    "KeepConfig",
    "Latency",
    "Lossless",
    "MaxCut",
    "MaxDrop",
    "Mean",
    "Memory",
    "MinChannels",
    "Model",
    "Models",
    "Outputs",
    "Params",
    "PlanFile",
    "Protect",
    "Provider",
    "Quiet",
    "Recover",
    "RoundTo",
    "Samples",
    "ScoreName",
    "Seed",
    "Size",
    "Std",
    "StrictOps",
    "Table",
    "Threads",
    "Train",
    "TrustPickle",
    "Uniform",
    "Val",
    "Verbose",
    "flag",
]
