"""GPT-NeoX and Pythia: two norms a block; a block returns a tensor."""

from editing_core.models.family import Family

GPT_NEOX = Family(
    model_type="gpt_neox",
    base="gpt_neox",
    blocks="layers",
    projection="mlp.dense_4h_to_h",
    final_norm="final_layer_norm",
    head="lm_head",
    block_returns_tuple=False,
)
