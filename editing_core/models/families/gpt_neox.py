"""GPT-NeoX and Pythia: rotary positions, two norms per block."""

from editing_core.models.families.family import Family

GPT_NEOX = Family(
    model_type="gpt_neox",
    base="gpt_neox",
    blocks="layers",
    projection="mlp.dense_4h_to_h",
    final_norm="final_layer_norm",
    head="lm_head",
)
