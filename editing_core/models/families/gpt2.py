"""GPT-2: learned positions added to the embeddings, transposed projections (Conv1D), a head tied to the embeddings."""

from editing_core.models.families.family import Family

GPT2 = Family(
    model_type="gpt2",
    base="transformer",
    blocks="h",
    projection="mlp.c_proj",
    final_norm="ln_f",
    head="lm_head",
    positions="wpe",
    projection_is_transposed=True,
)
