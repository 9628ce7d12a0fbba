"""Cut a trained network for handwritten digits to half its FLOPs, without training it again.

`make demo` runs this. It calls the command line, as a user does: once with 512 unlabelled images
to calibrate on and, for contrast, once by the magnitude of the weights alone. Then it measures the
accuracy of both, and of the ONNX file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.models import digits

BUILD = Path(__file__).parents[1] / "build"
OUT = BUILD / "demo"
SAMPLES = 512


def main() -> None:
    """Run the demo."""
    train, held_out = digits.load_data()
    calibration = BUILD / "calibration.npz"
    BUILD.mkdir(exist_ok=True)
    np.savez(calibration, x=train.images[:SAMPLES].numpy())

    compress("--data", relative(calibration), "-o", relative(OUT))
    weights_alone = BUILD / "demo-weights-alone"
    compress("-o", relative(weights_alone), "--no-onnx", "--no-html", quiet=True)

    dense = digits.build()
    dense.load_state_dict(torch.load(digits.CHECKPOINT, weights_only=True))  # noqa: TID251
    rows: list[tuple[str, nn.Module]] = [
        ("dense", dense),
        (f"half the FLOPs, {SAMPLES} unlabelled images, no training", gp.load(OUT)),
        ("its ONNX file, in onnxruntime", OnnxModel(OUT / "model.onnx")),
        ("half the FLOPs, by weight magnitude alone", gp.load(weights_alone)),
    ]
    print(f"\naccuracy on {len(held_out.labels)} held-out digits")
    for name, model in rows:
        print(f"  {name:54} {digits.evaluate(model.eval(), *held_out):6.1%}")
    print(f"\nreport: {relative(OUT / 'report.html')}")


def compress(*options: str, quiet: bool = False) -> None:
    """Call `graphprune compress` on the checkpoint and show the command.

    Args:
        options: those besides the model and the budget.
        quiet: don't show what it prints.

    Raises:
        subprocess.CalledProcessError: if it doesn't end with 0.
    """
    checkpoint = relative(digits.CHECKPOINT.resolve())
    command = ["compress", checkpoint, "--arch", "graphprune.models.digits:build"]
    command += ["--flops", "0.5", *options, "--force"]
    print("$ graphprune", " ".join(command), flush=True)
    output = subprocess.DEVNULL if quiet else None
    subprocess.run([sys.executable, "-m", "graphprune", *command], check=True, stdout=output)


def relative(path: Path) -> str:
    """Path as seen from the working directory."""
    return os.path.relpath(path)


class OnnxModel(nn.Module):
    """An ONNX file with one input and one output, run by onnxruntime."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Args:
            path: the file.
        """
        super().__init__()
        self.session = onnxruntime.InferenceSession(path)
        self.input_name = self.session.get_inputs()[0].name

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 1, 8, 8]` to logits `[n, 10]`."""
        return torch.from_numpy(self.session.run(None, {self.input_name: x.numpy()})[0])


if __name__ == "__main__":
    main()
