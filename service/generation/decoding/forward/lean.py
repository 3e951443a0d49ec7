"""A shallow copy of a model for decoding: the same tensors and the same function in fewer, larger operations.

With small models and small batches, the many small operations of a step determine its time. The copy replaces GPT-J's
attention (which looks up the rotation of every position in each layer, and attends in six operations), the chain of
eight operations for GELU, dropout (which does nothing during inference), and the calls of a block's thirteen modules
if no hooks are attached to them. Results differ from the library's in their last bits. Other modules stay unchanged.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: R rows, T tokens, A heads, D head size, F pairs of dimensions that are rotated.

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention
from transformers.models.gptj.modeling_gptj import GPTJAttention, GPTJBlock

from editing_core.models.activations import fuse_gelu
from editing_core.models.shallow_copies import shallow_copy_tree
from service.generation.decoding.forward.cache import Window
from service.generation.decoding.forward.joined import joined_weight, projections_of


def lean_copy(model: nn.Module) -> nn.Module:
    """Return a copy of the model that shares every tensor. Raises UnsupportedHook as ``shallow_copy_tree`` does."""
    copy = shallow_copy_tree(model)
    for module in list(copy.modules()):
        if type(module) is GPTJAttention and module.rotary_dim is not None:
            module.__class__ = LeanGPTJAttention
        if isinstance(module, LeanGPTJAttention):
            parts = projections_of(module)
            module.__dict__["joined"] = joined_weight(parts) if parts else None
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                module._modules[name] = nn.Identity()
    fuse_gelu(copy)
    for module in copy.modules():
        if type(module) is GPTJBlock and isinstance(module.attn, LeanGPTJAttention) and _has_no_hooks(module):
            module.__class__ = LeanGPTJBlock
    return copy


def _has_no_hooks(module: nn.Module) -> bool:
    """Whether calls of these modules only run their class's ``forward`` (accelerate replaces it on the instance)."""
    return not any(
        part._forward_hooks or part._forward_pre_hooks or "forward" in part.__dict__ for part in module.modules()
    )


class LeanGPTJBlock(GPTJBlock):
    """GPT-J's block without the calls of its modules, which must have no hooks."""

    def forward(
        self,
        hidden_states: Tensor,
        layer_past: Any = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Hidden states [R, T, H] → [R, T, H]; without a ``Window`` as ``layer_past``, the library's code runs."""
        if not isinstance(layer_past, Window):
            return super().forward(hidden_states, layer_past, attention_mask, position_ids, **options)
        norm, mlp = self.ln_1, self.mlp
        normed = layer_norm(hidden_states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        attended = self.attn.attend(normed, layer_past, attention_mask, position_ids)
        return attended + mlp.fc_out.forward(mlp.act(mlp.fc_in.forward(normed))) + hidden_states, None


class LeanGPTJAttention(GPTJAttention):
    """GPT-J's attention in one operation, with the rotations computed once per call."""

    joined: Tensor | None
    """The joined weights of the three projections; None unless they are adjacent in memory."""

    def forward(
        self, hidden_states: Tensor, layer_past: Any, attention_mask: Tensor, position_ids: Tensor, **options: Any
    ) -> tuple[Tensor, None]:
        """Hidden states [R, T, H] → [R, T, H]; without a ``Window`` as ``layer_past``, the library's code runs."""
        if not isinstance(layer_past, Window):
            return super().forward(hidden_states, layer_past, attention_mask, position_ids, **options)
        projected = [part(hidden_states) for part in (self.q_proj, self.k_proj, self.v_proj)]
        return self.out_proj(self._attend_separate(projected, layer_past, attention_mask, position_ids)), None

    def attend(self, hidden_states: Tensor, window: Window, mask: Tensor | None, position_ids: Any) -> Tensor:
        """Do the same as ``forward``, without the calls of its modules."""
        if self.joined is None:
            projected = [part.forward(hidden_states) for part in (self.q_proj, self.k_proj, self.v_proj)]
            attended = self._attend_separate(projected, window, mask, position_ids)
        else:
            attended = self._attend_joined(linear(hidden_states, self.joined), window, mask, position_ids)
        return self.out_proj.forward(attended)

    def _attend_separate(
        self, projected: list[Tensor], window: Window, mask: Tensor | None, positions: Tensor
    ) -> Tensor:
        """Compute the attention before its output projection from three tensors [R, T, H]."""
        heads_RTAD = (*projected[0].shape[:2], self.num_attention_heads, self.head_dim)
        query_RTAD, key_RTAD, value_RTAD = (part.view(heads_RTAD) for part in projected)
        turn_RT1F = self._shared_rotation(window, positions)
        self._rotate(query_RTAD, turn_RT1F)
        self._rotate(key_RTAD, turn_RT1F)
        seen = window.update(key_RTAD.transpose(1, 2), value_RTAD.transpose(1, 2), self.layer_idx)
        return self._attention(query_RTAD, *seen, mask)

    def _attend_joined(self, projected: Tensor, window: Window, mask: Tensor | None, positions: Tensor) -> Tensor:
        """Do the same as ``_attend_separate`` from one tensor [R, T, 3 H]."""
        heads_RT3AD = projected.view(*projected.shape[:2], 3, self.num_attention_heads, self.head_dim)
        self._rotate(heads_RT3AD[:, :, :2], self._shared_rotation(window, positions)[:, :, None])
        seen = window.update_both(heads_RT3AD[:, :, 1:], self.layer_idx)
        return self._attention(heads_RT3AD[:, :, 0], *seen, mask)

    def _attention(self, query_RTAD: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        attended = scaled_dot_product_attention(
            query_RTAD.transpose(1, 2), keys, values, attn_mask=mask, scale=1 / self.scale_attn
        )
        return attended.transpose(1, 2).flatten(2)

    def _shared_rotation(self, window: Window, positions: Tensor) -> Tensor:
        """Return the rotations of a call, [R, T, 1, F]. The first layer on each device computes them."""
        return window.shared(("rotation", positions.device), lambda: self._rotation(positions))

    def _rotation(self, position_ids: Tensor) -> Tensor:
        """Return the rotations at the positions: complex numbers [R, T, 1, F] of float32."""
        sincos = self.embed_positions.to(position_ids.device)[position_ids].float()
        sin_RTF, cos_RTF = sincos.chunk(2, dim=-1)
        return torch.complex(cos_RTF.contiguous(), sin_RTF.contiguous())[:, :, None]

    def _rotate(self, heads: Tensor, turn: Tensor) -> None:
        """Rotate the first dimensions of the heads, in place."""
        rotated = heads[..., : self.rotary_dim]
        if rotated.dtype == torch.float32:
            torch.view_as_complex(rotated.unflatten(-1, (-1, 2))).mul_(turn)
            return
        turned = torch.view_as_complex(rotated.float().unflatten(-1, (-1, 2))) * turn
        rotated.copy_(torch.view_as_real(turned).flatten(-2))
