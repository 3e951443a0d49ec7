"""GPT-J: parallel attention and MLP, one norm per block, a head with bias."""

from editing_core.models.families.family import Family

GPTJ = Family(
    model_type="gptj",
    base="transformer",
    blocks="h",
    projection="mlp.fc_out",
    final_norm="ln_f",
    head="lm_head",
)
