"""A model's twin for writing answers: the same tensors and the same function in fewer, larger operations.

On small models and small batches the time of a step is that of its many small operations. What is exchanged: GPT-J's
attention (it looks up the rotation of every position anew in each layer, and attends in six operations), its chain of
eight operations for GELU, and dropout, which does nothing here. Results differ from the library's in their last bits.
Knows no weights by name; whatever it does not know stays as it is.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: R rows, T tokens, A heads, D head size, F pairs of dimensions that are rotated.

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.activations import NewGELUActivation
from transformers.models.gptj.modeling_gptj import GPTJAttention, apply_rotary_pos_emb

from editing_core.models.twins import twin_tree
from service.generation.decoding.forward.cache import Window


def lean_twin(model: nn.Module) -> nn.Module:
    """A twin that shares every tensor. Raises UnsupportedHook as ``twin_tree`` does."""
    twin = twin_tree(model)
    for module in list(twin.modules()):
        if type(module) is GPTJAttention and module.rotary_dim is not None:
            module.__class__ = LeanGPTJAttention
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                module._modules[name] = nn.Identity()
            elif type(child) is NewGELUActivation:
                module._modules[name] = nn.GELU(approximate="tanh")
    return twin


class LeanGPTJAttention(GPTJAttention):
    """GPT-J's attention with the rotation of a call's positions computed once, and attention in one operation."""

    def forward(
        self, hidden_states: Tensor, layer_past: Any, attention_mask: Tensor, position_ids: Tensor, **options: Any
    ) -> tuple[Tensor, None]:
        """Hidden states [R, T, H] in and out; ``layer_past`` is a ``Window`` or none."""
        if not isinstance(layer_past, Window):
            return super().forward(hidden_states, layer_past, attention_mask, position_ids, **options)
        heads_RTAD = (*hidden_states.shape[:2], self.num_attention_heads, self.head_dim)
        query_RTAD = self.q_proj(hidden_states).view(heads_RTAD)
        key_RTAD = self.k_proj(hidden_states).view(heads_RTAD)
        value_RTAD = self.v_proj(hidden_states).view(heads_RTAD)
        turn = layer_past.shared(("rotation", hidden_states.device), lambda: self._rotation(position_ids, key_RTAD))
        query_RTAD = self._turned(query_RTAD, turn)
        key_RTAD = self._turned(key_RTAD, turn)
        keys, values = layer_past.update(key_RTAD.transpose(1, 2), value_RTAD.transpose(1, 2), self.layer_idx)
        attended = scaled_dot_product_attention(
            query_RTAD.transpose(1, 2), keys, values, attn_mask=attention_mask, scale=1 / self.scale_attn
        )
        return self.out_proj(attended.transpose(1, 2).reshape(hidden_states.shape)), None

    def _rotation(self, position_ids: Tensor, like: Tensor) -> tuple[Tensor, ...]:
        """The rotations at the positions: complex numbers [R, T, 1, F] in float32, sines and cosines elsewhere."""
        sincos = self.embed_positions.to(position_ids.device)[position_ids].to(like.dtype)
        sin_RTF, cos_RTF = sincos.chunk(2, dim=-1)
        if like.dtype != torch.float32:
            return sin_RTF, cos_RTF
        return (torch.complex(cos_RTF.contiguous(), sin_RTF.contiguous())[:, :, None],)

    def _turned(self, heads_RTAD: Tensor, turn: tuple[Tensor, ...]) -> Tensor:
        """The heads with their first dimensions rotated; may write into what it is given."""
        rotated = heads_RTAD[..., : self.rotary_dim]
        if len(turn) == 1:
            torch.view_as_complex(rotated.unflatten(-1, (-1, 2))).mul_(turn[0])
            return heads_RTAD
        return torch.cat([apply_rotary_pos_emb(rotated, *turn), heads_RTAD[..., self.rotary_dim :]], dim=-1)
