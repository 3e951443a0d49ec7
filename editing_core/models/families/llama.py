"""Llama: RMS norm, gated MLP without biases, grouped queries, rotary positions."""

from editing_core.models.families.family import Family

LLAMA = Family(
    model_type="llama",
    base="model",
    blocks="layers",
    projection="mlp.down_proj",
    final_norm="norm",
    head="lm_head",
)
