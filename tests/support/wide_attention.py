"""GPT-J whose attention scores are computed in the model's own dtype, so that float64 is float64 throughout.

transformers computes them in float32 whatever the dtype is, which limits agreement to about 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.models.gptj.modeling_gptj import GPTJAttention


@contextmanager
def attention_in_the_models_dtype() -> Iterator[None]:
    """Use this attention in every GPT-J while the context is open."""
    as_published = GPTJAttention._attn
    GPTJAttention._attn = _attend
    try:
        yield
    finally:
        GPTJAttention._attn = as_published


def _attend(
    self: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    scores = query.to(value.dtype) @ key.to(value.dtype).transpose(-1, -2) / self.scale_attn
    weights = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    return weights @ value, weights
