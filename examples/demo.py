"""Cut a trained network for handwritten digits to half its FLOPs, and see what that costs.

`make demo` runs this. It goes through the command line, as a user does, and then through the
library, to train the smaller network a little.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.models import digits

OUT = Path(__file__).parents[1] / "build" / "demo"
EPOCHS = 20


def main() -> None:
    """Run the demo."""
    train, held_out = digits.load_data()
    dense = digits.build()
    dense.load_state_dict(torch.load(digits.CHECKPOINT, weights_only=True))  # noqa: TID251
    before = digits.evaluate(dense.eval(), *held_out)

    command = [
        "compress",
        os.path.relpath(digits.CHECKPOINT),
        "--arch",
        "graphprune.models.digits:build",
        "--flops",
        "0.5",
        "-o",
        os.path.relpath(OUT),
        "--force",
    ]
    print("$ graphprune", " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", "graphprune", *command], check=True)

    plan = gp.Plan.from_json((OUT / "plan.json").read_text())
    small = gp.apply(plan, dense, digits.example_inputs())
    small.load_state_dict(torch.load(OUT / "model.pt", weights_only=True))  # noqa: TID251
    after = digits.evaluate(small.eval(), *held_out)
    in_onnx = digits.evaluate(onnx_model(OUT / "model.onnx"), *held_out)

    print(f"\naccuracy on {len(held_out.labels)} held-out digits")
    print(f"  dense                               {before:6.1%}")
    print(f"  half the FLOPs, by magnitude alone  {after:6.1%}")
    print(f"  its ONNX file, in onnxruntime       {in_onnx:6.1%}")
    seconds = finetune(small, train)
    tuned = digits.evaluate(small.eval(), *held_out)
    print(f"  after {seconds:2.0f} s of training              {tuned:6.1%}")


def onnx_model(path: Path) -> nn.Module:
    """An ONNX file as something to call."""
    session = onnxruntime.InferenceSession(path)
    (given,) = session.get_inputs()

    class Wrapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {given.name: x.numpy()})[0])

    return Wrapped()


def finetune(model: nn.Module, data: digits.Split) -> float:
    """Train in place, with labels, in plain torch. Returns the seconds it took."""
    torch.manual_seed(0)
    batch = 64
    steps = len(data.labels) // batch
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=EPOCHS * steps)
    model.train()
    start = time.perf_counter()
    for epoch in range(EPOCHS):
        loss = torch.zeros(())
        for index in torch.randperm(len(data.labels)).split(batch)[:steps]:
            loss = nn.functional.cross_entropy(model(data.images[index]), data.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        last = epoch + 1 == EPOCHS
        if sys.stdout.isatty() or last:
            print(
                f"  (training: epoch {epoch + 1} of {EPOCHS}, loss {loss.item():.3f})",
                end="\n" if last else "\r",
                flush=True,
            )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
