"""The other side of benchmarks/attention.py: one attention layer of each peer, projections included, at its best.

All map (1, length, width) to the same. transformers' layers lose what surrounds them (residual, norm, dropout), and
nothing is padding; their BigBird stays in eval mode, where its random blocks are all block 0: as many products, without
the time of drawing them. performer-pytorch is imported without what its attention never calls.

    pip install transformers einops && pip install --no-deps performer-pytorch
"""

from __future__ import annotations

import sys
import warnings
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sdpa(nn.Module):
    """torch's fused attention over all pairs; q, k and v are one product."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


class HuggingFaceBigBird(nn.Module):
    """BigBirdBlockSparseAttention and BigBirdAttention's output projection; window 3, a global block at each end."""

    def __init__(self, width: int, heads: int, length: int, block: int, random: int):
        super().__init__()
        from transformers import BigBirdConfig
        from transformers.models.big_bird.modeling_big_bird import BigBirdAttention, BigBirdModel

        config = BigBirdConfig(
            hidden_size=width,
            num_attention_heads=heads,
            max_position_embeddings=max(length, 4096),
            block_size=block,
            num_random_blocks=random,
            attention_type="block_sparse",
            attention_probs_dropout_prob=0.0,
            hidden_dropout_prob=0.0,
        )
        layer = BigBirdAttention(config, seed=0)
        self.attend, self.out = layer.self, layer.output.dense
        seen = torch.ones(1, length)
        blocked, band, rows, columns = BigBirdModel.create_masks_for_block_sparse_attn(seen, block)
        self.masks = {"band_mask": band, "from_mask": rows, "to_mask": columns}
        self.masks |= {"from_blocked_mask": blocked, "to_blocked_mask": blocked}

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attend(x, **self.masks)[0])


class HuggingFaceLongformer(nn.Module):
    """LongformerSelfAttention and the output projection; `window` on each side, the first `count` tokens global."""

    def __init__(self, width: int, heads: int, length: int, window: int, count: int):
        super().__init__()
        from transformers import LongformerConfig
        from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

        config = LongformerConfig(
            hidden_size=width,
            num_attention_heads=heads,
            attention_window=[2 * window],
            attention_probs_dropout_prob=0.0,
        )
        self.attend, self.out = LongformerSelfAttention(config, layer_id=0), nn.Linear(width, width)
        marks = (torch.arange(length) < count).float()[None] * 10000  # 0 is local attention, above 0 global
        self.masks = {"attention_mask": marks, "is_index_masked": marks < 0, "is_index_global_attn": marks > 0}
        self.any_global = count > 0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attend(x, **self.masks, is_global_attn=self.any_global)[0])


def performer_pytorch(width: int, heads: int, features: int) -> nn.Module:
    """Its SelfAttention: positive softmax features (FAVOR+), both ways. Its causal form needs a compiled extension."""
    for module, name in (
        ("local_attention", "LocalAttention"),
        ("axial_positional_embedding", "AxialPositionalEmbedding"),
    ):
        if module not in sys.modules:  # imported at its top for other classes
            sys.modules[module] = ModuleType(module)
            setattr(sys.modules[module], name, nn.Module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from performer_pytorch import SelfAttention
    return SelfAttention(width, heads=heads, dim_head=width // heads, nb_features=features, qkv_bias=True)
