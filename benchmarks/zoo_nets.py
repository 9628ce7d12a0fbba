"""Build the architectures of the zoo, by name, with random weights; nothing is downloaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

BATCH = 2

_libraries: list[torch.library.Library] = []
"""Libraries of declared operators, which stay declared as long as these live."""


def _tokens() -> torch.Tensor:
    return torch.randint(3, 500, (BATCH, 16))


HF: dict[str, tuple[str, str, dict[str, Any], Callable[[], torch.Tensor]]] = {
    "bert": ("BertConfig", "BertForSequenceClassification", {
        "vocab_size": 503, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 128, "num_labels": 7,
    }, _tokens),
    "distilbert": ("DistilBertConfig", "DistilBertForSequenceClassification", {
        "vocab_size": 503, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128,
        "num_labels": 7,
    }, _tokens),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {
        "vocab_size": 503, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "use_cache": False,
    }, _tokens),
    "llama_gqa": ("LlamaConfig", "LlamaForCausalLM", {
        "vocab_size": 503, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "use_cache": False,
    }, _tokens),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", {
        "vocab_size": 503, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 2, "num_local_experts": 4,
        "max_position_embeddings": 64, "use_cache": False,
    }, _tokens),
    "segformer": ("SegformerConfig", "SegformerForSemanticSegmentation", {
        "hidden_sizes": [16, 32, 64, 128], "decoder_hidden_size": 64, "depths": [1, 1, 1, 1],
        "num_labels": 7,
    }, lambda: torch.randn(BATCH, 3, 128, 128)),
    "vit": ("ViTConfig", "ViTForImageClassification", {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 128, "image_size": 64, "patch_size": 16, "num_labels": 7,
    }, lambda: torch.randn(BATCH, 3, 64, 64)),
    "whisper_encoder": ("WhisperConfig", "WhisperForAudioClassification", {
        "d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128,
        "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
        "vocab_size": 503, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 1, "num_mel_bins": 16, "max_source_positions": 50,
        "classifier_proj_size": 32, "num_labels": 7, "use_cache": False,
    }, lambda: torch.randn(BATCH, 16, 100)),
}  # fmt: skip
"""Name -> class of the config, class of the model, options of the config, input."""


def import_torchvision() -> None:
    """Import torchvision, also where its compiled operators don't fit the installed torch.

    It then fails on the operators that it wants to describe; no classifier calls them.
    """
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        _libraries.append(library)
        import_module("torchvision")


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Build the model in evaluation mode, and its input."""
    from graphprune.models.randomize import randomize_batchnorm

    kind, _, which = name.partition(":")
    torch.manual_seed(0)
    if find_spec("torchvision"):  # timm and transformers import it too
        import_torchvision()
    model, inputs = _BUILDERS[kind](which)
    randomize_batchnorm(model, 0)
    return model.eval(), inputs


def _torchvision(name: str) -> tuple[nn.Module, torch.Tensor]:
    import torchvision

    size = 299 if "inception" in name else 224
    return torchvision.models.get_model(name), torch.randn(BATCH, 3, size, size)


def _segmentation(name: str) -> tuple[nn.Module, torch.Tensor]:
    import torchvision

    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    return model, torch.randn(BATCH, 3, 128, 128)


class Dense(nn.Module):
    """The convolutional part of a detector: backbone, pyramid and heads, up to the raw predictions.

    What follows, anchors and suppression, has no parameters, and torch.export can't capture it.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head if hasattr(detector, "head") else detector.rpn.head

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(list(self.backbone(x).values()))


def _detection(name: str) -> tuple[nn.Module, torch.Tensor]:
    import torchvision

    detector = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    return Dense(detector), torch.randn(BATCH, 3, 256, 256)


def _timm(name: str) -> tuple[nn.Module, torch.Tensor]:
    import timm

    model = timm.create_model(name)
    return model, torch.randn(BATCH, *model.default_cfg["input_size"])


def _transformers(name: str) -> tuple[nn.Module, torch.Tensor]:
    import transformers

    config, model, options, inputs = HF[name]
    return getattr(transformers, model)(getattr(transformers, config)(**options)), inputs()


def _ultralytics(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Build a detector as it is for inference: decoded boxes, and the maps that they are made of."""
    import ultralytics

    kind = ultralytics.RTDETR if name.startswith("rtdetr") else ultralytics.YOLO
    return kind(f"{name}.yaml").model, torch.randn(BATCH, 3, 256, 256)


def _smp(name: str) -> tuple[nn.Module, torch.Tensor]:
    import segmentation_models_pytorch

    architecture = getattr(segmentation_models_pytorch, name)
    return architecture("resnet18", encoder_weights=None), torch.randn(BATCH, 3, 128, 128)


MONAI: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "unet": ("UNet", (3, 1, 2, (16, 32, 64), (2, 2)), {"num_res_units": 2}),
    "attention_unet": ("AttentionUnet", (3, 1, 2, (16, 32, 64), (2, 2)), {}),
    "dynunet": ("DynUNet", (3, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2]), {"filters": [16, 32, 64]}),
    "segresnet": ("SegResNet", (3, 8, 1, 2), {}),
    "vnet": ("VNet", (3, 1, 2), {}),
    "unetr": (
        "UNETR",
        (1, 2, (32, 32, 32)),
        {"feature_size": 8, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4},
    ),
    "densenet121": ("DenseNet121", (3, 1, 2), {}),
}
"""Name -> class, arguments, options; networks for volumes with one channel."""


def _monai(name: str) -> tuple[nn.Module, torch.Tensor]:
    from monai.networks import nets

    model, args, options = MONAI[name]
    return getattr(nets, model)(*args, **options), torch.randn(BATCH, 1, 32, 32, 32)


_BUILDERS = {
    "torchvision": _torchvision,
    "torchvision-seg": _segmentation,
    "torchvision-det": _detection,
    "timm": _timm,
    "hf": _transformers,
    "ultralytics": _ultralytics,
    "smp": _smp,
    "monai": _monai,
}
