"""Analyse and plan a language model of a billion parameters without its weights.

    python benchmarks/large.py

A LLaMA-shaped decoder (the shape of Llama 3.2 1B: 16 layers, 2048 wide, grouped queries, a
vocabulary of 128,256) is built from a ``transformers`` config on the meta device, where tensors
have shapes and no values, then exported, analysed, and planned to half of its FLOPs with random
scores, on one thread: with widths of their own for all groups, and with one width for the groups that
all layers have (``uniform_s``). Seconds, also those of the process alone (``cpu``), peak memory, and what
the plan costs go to stdout and to ``results/large.json``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import re
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from zoo import peak_mb
from zoo_nets import import_torchvision

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.ir.trace import trace
from graphprune.passes import Allocate, Decision
from graphprune.plan.budget import Budget

RESULTS = Path(__file__).parent / "results"
Found = TypeVar("Found")


def decoder(layers: int) -> torch.nn.Module:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=layers,
        num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(config).eval()


def alike(analysis: Analysis) -> tuple[tuple[str, ...], ...]:
    """List the groups, by id, that are the same in all layers."""
    found: dict[tuple[str, int], list[str]] = defaultdict(list)
    for group in analysis.groups:
        found[re.sub(r"\d+", "", group.id.partition("#")[0]), group.width].append(group.id)
    return tuple(tuple(ids) for ids in found.values() if len(ids) > 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Plan a large model on the meta device.")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    import_torchvision()
    model = decoder(options.layers)
    tokens = torch.zeros(2, options.tokens, dtype=torch.int64, device="meta")
    row: dict[str, Any] = {"params": sum(p.numel() for p in model.parameters())}

    def timed(stage: str, work: Callable[[], Found]) -> Found:
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        row[f"{stage}_s"] = round(time.perf_counter() - wall, 2)
        row[f"{stage}_cpu_s"] = round(time.process_time() - cpu, 2)
        return found

    program = timed("export", lambda: trace(model, (tokens,)))
    allocator = Allocate(budget=Budget.flops(0.5))
    state = timed("plan", lambda: gp.decide(program, allocator=allocator, score="random"))
    analysis, (met,) = state[Analysis], state[Decision].budgets
    allocator = Allocate(budget=Budget.flops(0.5), uniform=alike(analysis))
    even = timed("uniform", lambda: gp.decide(program, allocator=allocator, score="random"))
    (evenly,) = even[Decision].budgets
    widths = {len(p.keep) for p in even[Decision].plan.groups if p.id.endswith(".mlp.gate_proj")}
    assert len(widths) == 1, widths
    row |= {
        "analysis_s": round(state.seconds["analyse"], 2),
        "nodes": len(analysis.nodes),
        "groups": len(analysis.groups),
        "macs": analysis.dense_macs,
        "flops_got": round(met.reached / met.dense, 5),
        "uniform_flops_got": round(evenly.reached / evenly.dense, 5),
        "peak_mb": peak_mb(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(row, indent=2) + "\n"
    (options.results / "large.json").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
