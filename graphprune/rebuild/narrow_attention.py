"""torch's own attention with heads that were cut: ``nn.MultiheadAttention`` can't have fewer or narrower ones.

It states one width for its input and all of its heads together. What is left of a cut one gets a class derived from
it that reads all sizes off its parameters, which keep their names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphprune.ir.private_torch import keep_from_fused_encoder

__all__ = ["NarrowAttention", "narrow"]


class NarrowAttention(nn.MultiheadAttention):
    """Attention as ``nn.MultiheadAttention`` computes it, with any width of the heads.

    It is made of a cut one by ``narrow``. Arguments and results of ``forward`` are the same.
    """

    def forward(  # noqa: PLR0917
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,  # noqa: FBT002
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,  # noqa: FBT002
        is_causal: bool = False,  # noqa: FBT002
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from a query to keys and values: see ``nn.MultiheadAttention.forward``."""
        batched = query.dim() == 3
        if not batched:
            query, key, value = (each.unsqueeze(0) for each in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (each.transpose(0, 1) for each in (query, key, value))
        q, k, v = self._projected(query, key, value)
        mask = self._mask(q, key_padding_mask, attn_mask)
        k, v, mask = self._extended(k, v, mask)
        q, k, v = (each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for each in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q * q.size(-1) ** -0.5 @ k.transpose(-1, -2)
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = F.dropout(weights, dropout)
            heads = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            heads = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        result = self.out_proj(heads.transpose(1, 2).flatten(2))
        if not batched:
            return result.squeeze(0), None if weights is None else weights.squeeze(0)
        return result if self.batch_first else result.transpose(0, 1), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Compute queries, keys and values, ``[batch, length, heads * width of a head]``."""
        weights = self._weights()
        sizes = [len(weight) for weight in weights]
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.split(sizes)
        inputs = (query, key, value)
        return tuple(F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))

    def _weights(self) -> tuple[Tensor, ...]:
        if self.in_proj_weight is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            return tuple(weight for weight in weights if weight is not None)
        of_values = self.out_proj.weight.shape[1]
        of_keys = (len(self.in_proj_weight) - of_values) // 2
        return self.in_proj_weight.split([of_keys, of_keys, of_values])

    def _mask(self, q: Tensor, padding: Tensor | None, attention: Tensor | None) -> Tensor | None:
        """Join both masks, as numbers to add to the scores: ``[batch, heads or 1, queries, keys]``."""
        masks: list[Tensor] = []
        if attention is not None:
            mask = _added(attention, q)
            masks.append(mask.unflatten(0, (-1, self.num_heads)) if mask.dim() == 3 else mask)
        if padding is not None:
            masks.append(_added(padding, q)[:, None, None, :])
        return None if not masks else masks[0] if len(masks) == 1 else masks[0] + masks[1]

    def _extended(
        self, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Add the key and the value that the layer has of its own, and those that are zero."""
        added = 0
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1)], 1)
            added += 1
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
            added += 1
        return k, v, F.pad(mask, (0, added)) if mask is not None and added else mask


def narrow(layer: nn.Module) -> None:
    """Let torch's own attention, if a layer is that, run with the sizes that its tensors have; in place."""
    if type(layer) is not nn.MultiheadAttention:
        return
    layer.__class__ = NarrowAttention
    layer.embed_dim = len(layer.out_proj.weight)
    keep_from_fused_encoder(layer)  # which has sizes of its own


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """Turn a mask of truth values, true where nothing is read, into numbers to add."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))
