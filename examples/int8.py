"""A smaller network in int8: the same images refit it and calibrate its quantisation.

    python examples/int8.py

Cuts the network for handwritten digits to half of its FLOPs, refits it with unlabelled images, writes ONNX, and
quantises the file statically with onnxruntime's own tools. Accuracy is measured on images that neither step saw.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

import graphprune as gp
from graphprune.models import digits

SAMPLES = 256


class Images(CalibrationDataReader):
    """The calibration data in the form that onnxruntime asks for."""

    def __init__(self, name: str, images: torch.Tensor) -> None:
        self._batches: Iterator[dict[str, np.ndarray]] = iter([
            {name: batch.numpy()} for batch in images.split(32)
        ])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or ``None`` at the end."""
        return next(self._batches, None)


def main() -> None:
    """Run the example."""
    (images, _), (held_out, labels) = digits.load_data()
    dense = digits.build()
    dense.load_state_dict(torch.load(digits.CHECKPOINT, weights_only=True))  # noqa: TID251
    calibration = images[:SAMPLES]
    small = gp.compress(dense.eval(), digits.example_inputs(), flops=0.5, calibration=[calibration])
    with tempfile.TemporaryDirectory() as folder:
        slim, ready, int8 = (Path(folder) / f"{name}.onnx" for name in ("slim", "ready", "int8"))
        small.export_onnx(slim)
        quant_pre_process(str(slim), str(ready))  # shapes, which the quantiser needs
        name = onnxruntime.InferenceSession(str(slim)).get_inputs()[0].name
        quantize_static(
            str(ready),
            str(int8),
            Images(name, calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        print(f"{'':<12}{'bytes':>9}{'accuracy':>10}")
        print(
            f"{'dense':<12}{digits.CHECKPOINT.stat().st_size:>9}"
            f"{digits.evaluate(dense, held_out, labels):>10.2%}"
        )
        for label, path in (("slim", slim), ("slim, int8", int8)):
            print(f"{label:<12}{path.stat().st_size:>9}{accuracy(path, held_out, labels):>10.2%}")


def accuracy(path: Path, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images that get the right class in onnxruntime."""
    session = onnxruntime.InferenceSession(str(path))
    scores = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    return float((np.asarray(scores).argmax(1) == labels.numpy()).mean())


if __name__ == "__main__":
    main()
