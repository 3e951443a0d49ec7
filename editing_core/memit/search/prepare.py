"""What of a search does not depend on δ, computed once: blocks 0 … L, and keys and values above L.

Knows no losses and no optimiser.
"""

# Dims: G groups, R rows, T tokens, S suffix tokens, H hidden size, Q asked positions.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from editing_core.memit.search.batch import PrefixCache, SearchBatch, suffix_mask, suffix_positions
from editing_core.memit.search.rows import GroupRows, RowPlan, asks_of, plan_rows
from editing_core.models.blocks import causal_mask, embed, run_stretch, stretch
from editing_core.models.load import LoadedModel

TO_THE_TOP = 10**6
"""Beyond any model's last block."""


@torch.no_grad()
def prepare_batch(
    loaded: LoadedModel, groups: Sequence[GroupRows], *, target_layer: int, compute_dtype: torch.dtype
) -> tuple[SearchBatch, list[Tensor]]:
    """Run what does not depend on δ; returns the batch and, per group, h^L of its bare rows [edits, H]."""
    plans = [plan for i, group in enumerate(groups) for plan in plan_rows(i, group)]
    device = loaded.device
    length = torch.tensor([len(plan.ids) for plan in plans], device=device)
    lookup = torch.tensor([plan.row.lookup for plan in plans], device=device)
    hidden_RTH, cache = _run_rows(loaded, plans, length, target_layer=target_layer)
    cache.freeze(int(lookup.max()))
    suffix = _from_lookup(hidden_RTH, lookup, int((length - lookup).max()))
    at_lookup = suffix[:, 0].to(compute_dtype)
    bare = [[i for i, plan in enumerate(plans) if plan.is_bare and plan.group == g] for g in range(len(groups))]
    asks = asks_of(plans)
    head = loaded.family.head_module(loaded.model)
    batch = SearchBatch(
        upper=stretch(loaded.model, loaded.family, target_layer + 1, last=TO_THE_TOP, with_norm=True),
        head=head,
        cache=cache,
        suffix_RSH=suffix,
        lookup_R=lookup,
        length_R=length,
        mask=suffix_mask(lookup, length, num_prefix=int(lookup.max()), like=suffix),
        positions_RS=suffix_positions(lookup, length, suffix.shape[1]),
        group_R=torch.tensor([plan.group for plan in plans], device=device),
        hidden_norm_G=torch.stack([at_lookup[rows].norm(dim=-1).mean() for rows in bare]),
        ask_row_Q=torch.tensor(asks.rows, device=device),
        ask_place_Q=torch.tensor(asks.places, device=device),
        answer_Q=torch.tensor(asks.answers, device=device),
        share_Q=torch.tensor(asks.shares, dtype=torch.float64, device=device).to(compute_dtype),
        kl_row_G=torch.tensor([i for i, plan in enumerate(plans) if not plan.target], device=device),
        start_GV=torch.zeros(len(groups), loaded.vocabulary_size, dtype=compute_dtype, device=device),
        is_started_G=torch.zeros(len(groups), dtype=torch.bool, device=device),
    )
    return batch, [at_lookup[rows] for rows in bare]


def _run_rows(
    loaded: LoadedModel, plans: Sequence[RowPlan], length_R: Tensor, *, target_layer: int
) -> tuple[Tensor, PrefixCache]:
    """h^L of all rows [R, T, H], and keys and values above L for δ = 0."""
    num_tokens = int(length_R.max())
    ids = torch.stack([pad(torch.tensor(plan.ids), (0, num_tokens - len(plan.ids))) for plan in plans])
    positions = torch.arange(num_tokens, device=loaded.device)[None].expand(len(plans), -1)
    mask = causal_mask(length_R, num_tokens, loaded.dtype)
    lower = stretch(loaded.model, loaded.family, 0, last=target_layer)
    embedded = embed(loaded.model, loaded.family, ids.to(loaded.device))
    hidden = run_stretch(lower, embedded, mask, positions_RT=positions)
    cache = PrefixCache()
    upper = stretch(loaded.model, loaded.family, target_layer + 1, last=TO_THE_TOP)
    run_stretch(upper, hidden, mask, positions_RT=positions, cache=cache)
    return hidden, cache


def _from_lookup(values_RTH: Tensor, lookup_R: Tensor, num_suffix: int) -> Tensor:
    """Cut each row to the tokens from its look-up token on, padded on the right by repeating its last token."""
    places = lookup_R[:, None] + torch.arange(num_suffix, device=lookup_R.device)
    places = places.clamp(max=values_RTH.shape[1] - 1)
    return values_RTH.gather(1, places[..., None].expand(-1, -1, values_RTH.shape[2])).contiguous()
