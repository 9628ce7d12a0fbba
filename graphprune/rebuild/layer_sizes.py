"""Sizes that torch's own layers keep beside their tensors, such as ``out_features``."""

from __future__ import annotations

from torch import Tensor, nn

from graphprune.ir.private_torch import ConvNd, ConvTransposeNd, NormBase

__all__ = ["update_sizes"]

_SIZES_OF_WEIGHT: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Bilinear: ("out_features", "in1_features", "in2_features"),
    nn.Embedding: ("num_embeddings", "embedding_dim"),
    nn.EmbeddingBag: ("num_embeddings", "embedding_dim"),
    nn.GroupNorm: ("num_channels",),
    nn.Linear: ("out_features", "in_features"),
    nn.PReLU: ("num_parameters",),
}
"""Attributes that state the sizes of a layer's weight, by the class of the layer, in the order of its dimensions."""


def update_sizes(layer: nn.Module) -> None:
    """Update the sizes that a layer states, if it is one of torch's own, to those of its tensors; in place."""
    for kind, names in _SIZES_OF_WEIGHT.items():
        if isinstance(layer, kind) and isinstance(layer.weight, Tensor):
            for name, size in zip(names, layer.weight.shape, strict=True):
                setattr(layer, name, size)
    match layer:
        case NormBase():
            sizes = [t for t in (layer.weight, layer.running_mean) if t is not None]
            layer.num_features = len(sizes[0])
        case nn.LayerNorm() | nn.RMSNorm() if layer.weight is not None:
            layer.normalized_shape = tuple(layer.weight.shape)
        case nn.RNNBase():
            _update_recurrent(layer)
        case nn.RNNCellBase():
            layer.input_size, layer.hidden_size = layer.weight_ih.shape[1], layer.weight_hh.shape[1]
        case ConvTransposeNd():  # its groups are up to date already
            layer.in_channels = layer.weight.shape[0]
            layer.out_channels = layer.weight.shape[1] * layer.groups
        case ConvNd():
            layer.out_channels = layer.weight.shape[0]
            layer.in_channels = layer.weight.shape[1] * layer.groups
        case _:
            pass


def _update_recurrent(layer: nn.RNNBase) -> None:
    layer.input_size = layer.get_parameter("weight_ih_l0").shape[1]
    layer.hidden_size = layer.get_parameter("weight_hh_l0").shape[1]
    if layer.proj_size:
        layer.proj_size, layer.hidden_size = layer.get_parameter("weight_hr_l0").shape
