"""Computes once the parts of a search that do not depend on δ: blocks 0 … L, and keys and values above L.

Rows that begin with the same tokens (those of a context) share them. Knows no losses and no optimiser.
"""

# Dims: G groups, R rows, B bins, P prefix places, S suffix places, H hidden size.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn

from editing_core.memit.search.batch import RowTensors, SearchBatch, laid_out
from editing_core.memit.search.packing import Extent, Packing, pack
from editing_core.memit.search.parts import TO_THE_TOP, Part
from editing_core.memit.search.prefix_cache import PrefixCache
from editing_core.memit.search.rows import GroupRows, RowPlan, asks_of, plan_rows
from editing_core.models.blocks import additive_mask, embed
from editing_core.models.load import LoadedModel

WHOLE_ROW_BIN_TOKENS = 64
"""Tokens of a bin in the pass over whole rows."""


@dataclass(frozen=True, slots=True)
class SearchModel:
    """The model, split into the parts that a search runs."""

    loaded: LoadedModel
    lower: Part
    """Blocks 0 … L."""
    upper: Part
    """Blocks above L with the final norm."""
    head: nn.Module

    @classmethod
    def of(cls, loaded: LoadedModel, *, target_layer: int) -> SearchModel:
        """Split a model at its target layer. No weight is copied."""
        return cls(
            loaded=loaded,
            lower=Part(loaded, 0, last=target_layer),
            upper=Part(loaded, target_layer + 1, last=TO_THE_TOP, with_norm=True),
            head=loaded.family.head_module(loaded.model),
        )


@torch.no_grad()
def prepare_batch(
    model: SearchModel, groups: Sequence[GroupRows], *, compute_dtype: torch.dtype
) -> tuple[SearchBatch, list[Tensor]]:
    """Run the parts that do not depend on δ. Returns the batch and, per group, h^L of its bare rows [edits, H]."""
    plans = [plan for i, group in enumerate(groups) for plan in plan_rows(i, group)]
    shared = _shared_tokens(plans)
    extents = tuple(
        Extent(common, plan.row.lookup - len(common), len(plan.ids) - plan.row.lookup)
        for plan, common in zip(plans, shared, strict=True)
    )
    flat, whole = _run_whole_rows(model, plans, shared)
    packing = pack(extents)
    prefix = _take(flat, packing.prefix_index(whole.flat_shared, whole.flat_own), packing.num_bins)
    suffix = _take(flat, packing.suffix_index(whole.flat_own + packing.num_own_R), packing.num_bins)
    at_lookup = suffix.flatten(0, 1)[packing.flat_suffix.to(suffix.device)].to(compute_dtype)
    bare = [[i for i, plan in enumerate(plans) if plan.is_bare and plan.group == g] for g in range(len(groups))]
    rows = _row_tensors(model.loaded, plans, at_lookup, bare)
    cache = _record(model, prefix, packing)
    batch = laid_out(model, extents=extents, packing=packing, cache=cache, suffix_BSH=suffix, rows=rows)
    return batch, [at_lookup[of_group] for of_group in bare]


def _shared_tokens(plans: Sequence[RowPlan]) -> list[tuple[int, ...]]:
    """Return for each row the first tokens that all rows of its context share. All come before the look-up tokens."""
    members: dict[int, list[RowPlan]] = {}
    for plan in plans:
        members.setdefault(plan.context, []).append(plan)
    common = {c: _common_start([p.ids[: p.row.lookup] for p in rows]) for c, rows in members.items()}
    return [common[plan.context] for plan in plans]


def _common_start(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the ids that all rows begin with. If the first and the last in sorted order agree, all do."""
    first, last = min(rows), max(rows)
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))


def _run_whole_rows(
    model: SearchModel, plans: Sequence[RowPlan], shared: Sequence[tuple[int, ...]]
) -> tuple[Tensor, Packing]:
    """Return h^L of all tokens [B · P, H] and their layout. Whole rows are packed as if all tokens were prefix."""
    loaded = model.loaded
    extents = [Extent(common, len(plan.ids) - len(common), 0) for plan, common in zip(plans, shared, strict=True)]
    packing = pack(extents, bin_tokens=WHOLE_ROW_BIN_TOKENS)
    ids = torch.tensor([i for plan in plans for i in plan.ids])
    starts = torch.tensor([0] + [len(plan.ids) for plan in plans]).cumsum(0)[:-1]
    index = packing.prefix_index(starts, starts + packing.num_shared_R)
    ids_BP = ids[index].view(packing.num_bins, packing.num_prefix).to(loaded.device)
    hidden = model.lower.run(
        embed(loaded.model, loaded.family, ids_BP),
        additive_mask(packing.prefix_seen()[:, None].to(loaded.device), loaded.dtype),
        positions_BT=packing.prefix_positions().to(loaded.device),
    )
    return hidden.flatten(0, 1), packing


def _take(flat_TH: Tensor, index: Tensor, num_bins: int) -> Tensor:
    return flat_TH[index.to(flat_TH.device)].view(num_bins, -1, flat_TH.shape[1])


def _record(model: SearchModel, prefix_BPH: Tensor, packing: Packing) -> PrefixCache:
    """Return keys and values above L of the prefix parts. The last MLP does not run, because its output is not read."""
    device = prefix_BPH.device
    cache = PrefixCache()
    model.upper.run(
        prefix_BPH,
        additive_mask(packing.prefix_seen()[:, None].to(device), prefix_BPH.dtype),
        positions_BT=packing.prefix_positions().to(device),
        cache=cache,
        read_Q=torch.empty(0, dtype=torch.long, device=device),
    )
    return cache.recorded()


def _row_tensors(
    loaded: LoadedModel, plans: Sequence[RowPlan], at_lookup_RH: Tensor, bare: Sequence[Sequence[int]]
) -> RowTensors:
    asks, device, dtype = asks_of(plans), at_lookup_RH.device, at_lookup_RH.dtype
    group = torch.tensor([plan.group for plan in plans], device=device)
    return RowTensors(
        lookup_R=torch.zeros_like(group),
        group_R=group,
        hidden_norm_G=torch.stack([at_lookup_RH[list(rows)].norm(dim=-1).mean() for rows in bare]),
        ask_row_Q=torch.tensor(asks.rows, device=device),
        ask_place_Q=torch.tensor(asks.places, device=device),
        answer_Q=torch.tensor(asks.answers, device=device),
        share_Q=torch.tensor(asks.shares, dtype=torch.float64, device=device).to(dtype),
        kl_row_G=torch.tensor([i for i, plan in enumerate(plans) if not plan.target], device=device),
        start_GV=torch.zeros(len(bare), loaded.vocabulary_size, dtype=dtype, device=device),
        is_started_G=torch.zeros(len(bare), dtype=torch.bool, device=device),
    )
