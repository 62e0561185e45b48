"""The last block of a vision transformer, for the class token alone.

A picture's embedding is read off the class token, so of the last block's output only that token's is needed: it looks
at all tokens (their keys and values), and nothing else of them is computed. With 12 blocks and 50 tokens that is 6.6%
of the arithmetic; the numbers are the same. The other tokens are there too, for whoever asks for patches.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional


class LastBlock(nn.Module):
    """Pre-norm self-attention and MLP. Called with tokens (N, T, D); gives the first (N, 1, D), and all (N, T, D).

    Args:
        norms: before attention and before the MLP.
        query: D → D.
        key_value: D → 2 · D, keys before values; shared by both outputs.
        out: D → D, what follows attention.
        mlp: D → D.
        scales: of the two residual branches.
    """

    def __init__(
        self,
        norms: tuple[nn.Module, nn.Module],
        query: nn.Module,
        key_value: nn.Module,
        out: nn.Module,
        mlp: nn.Module,
        scales: tuple[nn.Module, nn.Module],
        heads: int,
    ) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = norms
        self.scale_1, self.scale_2 = scales
        self.query, self.key_value, self.out, self.mlp, self.heads = query, key_value, out, mlp, heads

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        normal = self.norm_1(tokens)
        key, value = (self._by_head(part) for part in self.key_value(normal).chunk(2, dim=-1))
        return self._rows(tokens[:, :1], normal[:, :1], key, value), self._rows(tokens, normal, key, value)

    def _rows(self, tokens: Tensor, normal: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(N, t, D) of some tokens → (N, t, D)."""
        attended = functional.scaled_dot_product_attention(self._by_head(self.query(normal)), key, value)
        tokens = tokens + self.scale_1(self.out(attended.transpose(1, 2).flatten(2)))
        return torch.as_tensor(tokens + self.scale_2(self.mlp(self.norm_2(tokens))))

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, t, D) → (N, heads, t, D / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


def is_plain_block(block: nn.Module) -> bool:
    """Whether it is open_clip's block in the form that `of_open_clip` knows."""
    attention = getattr(block, "attn", None)
    return (
        type(block) is ResidualAttentionBlock
        and isinstance(attention, nn.MultiheadAttention)
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def of_open_clip(block: ResidualAttentionBlock) -> LastBlock:
    attention = block.attn
    width = attention.embed_dim
    return LastBlock(
        (block.ln_1, block.ln_2),
        _linear(attention.in_proj_weight[:width], attention.in_proj_bias[:width]),
        _linear(attention.in_proj_weight[width:], attention.in_proj_bias[width:]),
        attention.out_proj,
        block.mlp,
        (block.ls_1, block.ls_2),
        attention.num_heads,
    )


def of_hugging_face(layer: Any) -> LastBlock:
    """Make one from transformers' CLIPEncoderLayer."""
    attention = layer.self_attn
    key, value = attention.k_proj, attention.v_proj
    return LastBlock(
        (layer.layer_norm1, layer.layer_norm2),
        attention.q_proj,
        _linear(torch.cat([key.weight, value.weight]), torch.cat([key.bias, value.bias])),
        attention.out_proj,
        layer.mlp,
        (nn.Identity(), nn.Identity()),
        attention.num_heads,
    )


def of_timm(block: Any) -> LastBlock:
    """Make one from timm's Block, whose queries, keys and values are one matrix."""
    attention = block.attn
    weight, bias, width = attention.qkv.weight, attention.qkv.bias, attention.qkv.in_features
    return LastBlock(
        (block.norm1, block.norm2),
        _linear(weight[:width], bias[:width]),
        _linear(weight[width:], bias[width:]),
        attention.proj,
        block.mlp,
        (block.ls1, block.ls2),
        attention.num_heads,
    )


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer
