"""Tiny models of the transformers library, saved as their users save them: one for each family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

__all__ = ["FAMILIES", "import_transformers", "inputs_of", "save"]

_TEXT = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_IMAGE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 4,
}
_GROUPED = {**_TEXT, "intermediate_size": 48, "num_key_value_heads": 2}
_BART = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "decoder_start_token_id": 2,
    "max_position_embeddings": 64,
}

FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": (
        "BertForSequenceClassification",
        "BertConfig",
        {**_TEXT, "intermediate_size": 48},
    ),
    "roberta": ("RobertaModel", "RobertaConfig", {**_TEXT, "intermediate_size": 48}),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {"vocab_size": 60, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**_GROUPED, "head_dim": 8}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**_GROUPED, "tie_word_embeddings": True}),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {**_TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32},
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {
            "vocab_size": 60,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 2,
        },
    ),
    "bart": ("BartForConditionalGeneration", "BartConfig", _BART),
    "vit": ("ViTForImageClassification", "ViTConfig", _IMAGE),
    "deit": ("DeiTForImageClassification", "DeiTConfig", _IMAGE),
}
"""Name -> class of the model, class of its config, options of the config."""


def import_transformers() -> Any:
    """Import the library, beside any build of torch; skip the test where it isn't installed."""
    from benchmarks.zoo_nets import import_torchvision

    pytest.importorskip("transformers.utils")
    import_torchvision()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers


def save(transformers: Any, name: str, folder: Path) -> Path:
    """Save a model with weights that are unlike each other."""
    kind, config, options = FAMILIES[name]
    tokens = (
        {}
        if options.get("image_size")
        else {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    )
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**options, **tokens)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def inputs_of(name: str) -> list[str]:
    """State the inputs of a model as the command line takes them."""
    if FAMILIES[name][2].get("image_size"):
        return ["2x3x16x16"]
    return ["2x12:int64", *(["decoder_input_ids=2x7:int64"] if name == "t5" else [])]
