"""Compress an ONNX file and write the result."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch

import graphprune as gp
from graphprune.loading import load
from tests import nets


def exported(net: nets.Net, file: Path, **options: Any) -> Path:
    """The net as torch.onnx writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), net.inputs(), file, verbose=False, **options)
    return file


def compressed(file: Path, flops: float = 0.6) -> tuple[gp.Result, onnx.ModelProto]:
    """A smaller network, by random scores, and its file."""
    torch.manual_seed(0)
    found = load(file)
    result = gp.compress(found.program, flops=flops, score="random")
    out = file.with_name("out.onnx")
    done = result.from_file(found.onnx_file).export_onnx(out)
    return done, onnx.load(out)


def was_edited(result: gp.Result) -> bool:
    """Whether no note says that the file was exported anew."""
    return not any("exported anew" in note for note in result.report.notes)
