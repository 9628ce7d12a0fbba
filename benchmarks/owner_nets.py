"""Build the models of ``owner.py``: those of the zoo, more transformers, and others, with unlike channel norms."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from zoo_nets import BATCH, build

SPREAD = 0.7
"""Standard deviation of the logarithms of the factors by which channels differ."""

_SIZES = {
    "vocab_size": 97, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "max_position_embeddings": 64, "num_labels": 7, "pad_token_id": 0,
}  # fmt: skip
_CAUSAL = {**_SIZES, "use_cache": False, "bos_token_id": 1, "eos_token_id": 2}
_IMAGES = {**_SIZES, "image_size": 32, "patch_size": 8}
_SEQ2SEQ = {
    "vocab_size": 97, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128, "max_position_embeddings": 64, "use_cache": False, "num_labels": 7,
}  # fmt: skip


def _words() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(3, 90, (BATCH, 12))}


def _pixels() -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(BATCH, 3, 32, 32)}


def _both() -> dict[str, torch.Tensor]:
    return {**_words(), "decoder_input_ids": torch.randint(3, 90, (BATCH, 7))}


TRANSFORMERS: dict[str, tuple[str, dict[str, Any], Callable[[], dict[str, torch.Tensor]]]] = {
    "bert": ("BertForSequenceClassification", _SIZES, _words),
    "roberta": ("RobertaForSequenceClassification", _SIZES, _words),
    "electra": ("ElectraForSequenceClassification", {**_SIZES, "embedding_size": 64}, _words),
    "albert": ("AlbertForSequenceClassification", {**_SIZES, "embedding_size": 32}, _words),
    "mpnet": ("MPNetForSequenceClassification", _SIZES, _words),
    "deberta_v2": ("DebertaV2ForSequenceClassification", _SIZES, _words),
    "modernbert": ("ModernBertForSequenceClassification", _SIZES, _words),
    "distilbert": ("DistilBertForSequenceClassification", {
        "vocab_size": 97, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128,
        "num_labels": 7,
    }, _words),
    "gpt2": ("GPT2LMHeadModel", {
        "vocab_size": 97, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "use_cache": False, "bos_token_id": 1, "eos_token_id": 2,
    }, _words),
    "gpt_neox": ("GPTNeoXForCausalLM", _CAUSAL, _words),
    "gptj": ("GPTJForCausalLM", {
        "vocab_size": 97, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "rotary_dim": 8, "use_cache": False, "bos_token_id": 1, "eos_token_id": 2,
    }, _words),
    "opt": ("OPTForCausalLM", {**_CAUSAL, "ffn_dim": 128, "word_embed_proj_dim": 64}, _words),
    "bloom": ("BloomForCausalLM", {
        "vocab_size": 97, "hidden_size": 64, "n_layer": 2, "n_head": 4, "use_cache": False,
    }, _words),
    "llama": ("LlamaForCausalLM", {**_CAUSAL, "num_key_value_heads": 2}, _words),
    "mistral": ("MistralForCausalLM", {**_CAUSAL, "num_key_value_heads": 2}, _words),
    "qwen2": ("Qwen2ForCausalLM", {**_CAUSAL, "num_key_value_heads": 2}, _words),
    "qwen3": ("Qwen3ForCausalLM", {**_CAUSAL, "num_key_value_heads": 2, "head_dim": 16}, _words),
    "gemma": ("GemmaForCausalLM", {**_CAUSAL, "num_key_value_heads": 2, "head_dim": 16}, _words),
    "phi": ("PhiForCausalLM", _CAUSAL, _words),
    "t5": ("T5ForConditionalGeneration", {
        "vocab_size": 97, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
        "use_cache": False, "decoder_start_token_id": 0,
    }, _both),
    "bart": ("BartForConditionalGeneration", _SEQ2SEQ, _both),
    "pegasus": ("PegasusForConditionalGeneration", _SEQ2SEQ, _both),
    "vit": ("ViTForImageClassification", _IMAGES, _pixels),
    "deit": ("DeiTForImageClassification", _IMAGES, _pixels),
    "beit": ("BeitForImageClassification", {**_IMAGES, "vocab_size": 97}, _pixels),
    "dinov2": ("Dinov2ForImageClassification", {**_IMAGES, "mlp_ratio": 2}, _pixels),
    "convnext": ("ConvNextForImageClassification", {
        "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "num_labels": 7,
    }, lambda: {"pixel_values": torch.randn(BATCH, 3, 64, 64)}),
    "segformer": ("SegformerForSemanticSegmentation", {
        "hidden_sizes": [16, 32, 64, 128], "decoder_hidden_size": 64, "depths": [1, 1, 1, 1],
        "num_labels": 7,
    }, lambda: {"pixel_values": torch.randn(BATCH, 3, 128, 128)}),
}  # fmt: skip
"""Family -> class of the model, options of its config, inputs by name."""


class HifiGan(nn.Module):
    """A vocoder in the form of HiFi-GAN: transposed convolutions and dilated blocks, all weight-normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.before = weight_norm(nn.Conv1d(20, 64, 7, padding=3))
        self.up = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(64 // 2**i, 32 // 2**i, 8, 4, 2)) for i in range(2)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                weight_norm(nn.Conv1d(32 // 2**i, 32 // 2**i, 3, padding=d, dilation=d))
                for d in (1, 3, 5)
            )
            for i in range(2)
        )
        self.after = weight_norm(nn.Conv1d(16, 1, 7, padding=3))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Make a wave of a spectrogram ``[batch, 20, frames]``."""
        x = self.before(mel)
        for up, block in zip(self.up, self.blocks, strict=True):
            x = up(nn.functional.leaky_relu(x, 0.1))
            for conv in block.children():
                x = x + conv(nn.functional.leaky_relu(x, 0.1))
        return torch.tanh(self.after(nn.functional.leaky_relu(x)))


def _tabnet() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    from pytorch_tabnet.tab_network import TabNet

    net = TabNet(16, 4, n_d=16, n_a=16, group_attention_matrix=torch.eye(16))
    return net, {"x": torch.randn(BATCH * 8, 16)}


def _diffusers() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    from diffusers import UNet2DModel

    net = UNet2DModel(
        16, 3, 3, block_out_channels=(32, 64), norm_num_groups=8, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    inputs = {"sample": torch.randn(BATCH, 3, 16, 16), "timestep": torch.tensor([3, 7])}
    return net, inputs


def _open_clip() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    from open_clip.transformer import VisionTransformer

    net = VisionTransformer(32, 8, 64, 2, 4, 2.0, output_dim=16)
    return net, {"x": torch.randn(BATCH, 3, 32, 32)}


def _encoder() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    layer = nn.TransformerEncoderLayer(32, 4, 96, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return net, {"src": torch.randn(BATCH, 9, 32)}


OTHERS: dict[str, Callable[[], tuple[nn.Module, dict[str, torch.Tensor]]]] = {
    "tabnet": _tabnet,
    "hifigan": lambda: (HifiGan(), {"mel": torch.randn(BATCH, 20, 16)}),
    "diffusers_unet": _diffusers,
    "open_clip_vit": _open_clip,
    "torch_encoder": _encoder,
}

ZOO = [
    *(f"torchvision:{name}" for name in (
        "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1",
        "googlenet", "efficientnet_b0", "regnet_y_400mf", "densenet121", "convnext_tiny", "swin_t",
        "vit_b_32", "mnasnet0_5",
    )),
    *(f"timm:{name}" for name in (
        "ghostnet_100", "dla34", "hrnet_w18_small", "levit_128s", "res2net50_26w_4s", "resnest14d",
        "xcit_nano_12_p16_224", "mobilevit_s", "efficientformer_l1", "poolformer_s12",
        "cspdarknet53", "deit_tiny_patch16_224", "pvt_v2_b0", "mobileone_s0", "edgenext_small",
    )),
    *(f"ultralytics:{name}" for name in (
        "yolov3-tiny", "yolov5n", "yolov8n", "yolov8n-seg", "yolov8n-pose", "yolov8n-cls",
        "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "rtdetr-resnet50",
    )),
    *(f"smp:{name}" for name in ("Unet", "UnetPlusPlus", "FPN", "PAN", "DeepLabV3Plus")),
    "monai:unet",
    "monai:segresnet",
]  # fmt: skip

MODELS = [
    *(f"transformers:{name}" for name in TRANSFORMERS),
    *(f"other:{name}" for name in OTHERS),
    *ZOO,
]


def spread_norms(model: nn.Module) -> None:
    """Multiply the rows of every weight by log-normal factors, so that channels differ as trained ones do."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                if not weight.any():  # a head that begins with zeros tells nothing
                    weight.normal_(0, 0.02, generator=generator)
                shape = (len(weight), *[1] * (weight.ndim - 1))
                weight.mul_((SPREAD * torch.randn(shape, generator=generator)).exp())


def make(name: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Build a model in evaluation mode: itself, its positional and its keyword inputs."""
    warnings.simplefilter("ignore")
    kind, _, which = name.partition(":")
    args: tuple[Any, ...] = ()
    torch.manual_seed(0)
    match kind:
        case "transformers":
            import zoo_nets

            zoo_nets.import_torchvision()
            library = importlib.import_module("transformers")
            class_name, options, inputs = TRANSFORMERS[which]
            kind_of = getattr(library, class_name)
            torch.manual_seed(0)
            model, kwargs = kind_of(kind_of.config_class(**options)), inputs()
        case "other":
            import zoo_nets

            zoo_nets.import_torchvision()
            torch.manual_seed(0)
            model, kwargs = OTHERS[which]()
        case _:
            model, x = build(name)
            args, kwargs = (x,), {}
    spread_norms(model)
    return model.eval(), args, kwargs
