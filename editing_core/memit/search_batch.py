"""The tensors of several searches for z side by side: what is computed once, and the loss of each for a given δ.

Blocks 0 … L do not depend on δ and run once. Above L only the tokens from the look-up token on depend on it: keys and
values of the earlier ones are kept, and the vocabulary head sees the target positions only. Knows no optimiser.
"""

# Dims: G groups (one δ each), R rows, T tokens, P prefix tokens, S suffix tokens, H hidden size, V vocabulary,
# Q positions whose next token is asked for.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, pad

from editing_core.memit.tokens import EditRows, Row
from editing_core.models.blocks import additive_mask, causal_mask, embed, run_stretch, stretch
from editing_core.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class GroupRows:
    """The rows of one search: every edit of a subject's group, and the row that guards the subject's meaning."""

    edits: tuple[EditRows, ...]

    @property
    def num_rows(self) -> int:
        """Rewriting rows of all edits and one guarding row."""
        return sum(len(edit.prompts) for edit in self.edits) + 1

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(len(row.ids) + len(edit.target) for edit in self.edits for row in edit.prompts)


@dataclass(frozen=True, slots=True)
class _RowPlan:
    row: Row
    ids: tuple[int, ...]
    target: tuple[int, ...]
    """Empty for the guarding row."""
    group: int
    weight: float
    """Share of this row's mean NLL in its group's loss."""
    is_bare: bool


class PrefixCache:
    """Keys and values of the tokens before the look-up token; ``update`` puts them in front of the suffix's own."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.recording = True

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """As transformers' caches: [R, heads, tokens, width] in, what is attended to out."""
        if self.recording:
            self.layers[layer_idx] = (keys, values)
            return keys, values
        first_keys, first_values = self.layers[layer_idx]
        return torch.cat([first_keys, keys], dim=2), torch.cat([first_values, values], dim=2)

    def freeze(self, num_tokens: int) -> None:
        """Keep the first ``num_tokens`` of what was recorded; from now on only put them in front."""
        self.layers = {
            i: (k[:, :, :num_tokens].contiguous(), v[:, :, :num_tokens].contiguous())
            for i, (k, v) in self.layers.items()
        }
        self.recording = False

    def select(self, rows: Tensor) -> PrefixCache:
        """The cache of some rows."""
        chosen = PrefixCache()
        chosen.recording = False
        chosen.layers = {i: (k[rows], v[rows]) for i, (k, v) in self.layers.items()}
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBatch:
    """What a step needs, for the groups still searching."""

    upper: nn.Module
    """Blocks above L with the final norm."""
    head: nn.Module
    cache: PrefixCache
    suffix_RSH: Tensor
    """h^L from the look-up token on, without δ."""
    mask: Tensor
    """Additive, [R, 1, S, P + S]."""
    positions_RS: Tensor
    group_R: Tensor
    hidden_norm_G: Tensor
    """‖h^L‖ at the look-up token of the bare row; for several edits of a subject the mean of theirs."""
    ask_row_Q: Tensor
    ask_place_Q: Tensor
    answer_Q: Tensor
    share_Q: Tensor
    """Weight of each target token in its group's NLL; they add up to 1 in a group."""
    kl_row_G: Tensor
    start_GV: Tensor | None = None
    """Log-probabilities at the guarding row's look-up token for δ = 0; None before the first step."""

    @property
    def num_groups(self) -> int:
        """Searches still going on."""
        return len(self.hidden_norm_G)

    def log_probabilities(self, delta_GH: Tensor) -> tuple[Tensor, Tensor]:
        """Per group the NLL of its targets [G], and its guarding row's log-probabilities [G, V]; δ's dtype."""
        hidden = self.suffix_RSH.clone()
        hidden[:, 0] = (hidden[:, 0].to(delta_GH.dtype) + delta_GH[self.group_R]).to(hidden.dtype)
        out = run_stretch(self.upper, hidden, self.mask, positions_RT=self.positions_RS, cache=self.cache)
        asked = torch.cat([out[self.ask_row_Q, self.ask_place_Q], out[self.kl_row_G, 0]])
        log_probs = log_softmax(self.head(asked).to(delta_GH.dtype), dim=-1)
        told = log_probs[: len(self.answer_Q)].gather(1, self.answer_Q[:, None]).squeeze(1)
        nll = torch.zeros_like(self.hidden_norm_G).index_add(0, self.group_R[self.ask_row_Q], -told * self.share_Q)
        return nll, log_probs[len(self.answer_Q) :]

    def divergence(self, now_GV: Tensor) -> Tensor:
        """KL(now ‖ start) in nats, [G], with the arguments in the order of the public implementation."""
        assert self.start_GV is not None
        return kl_div(self.start_GV, now_GV, log_target=True, reduction="none").sum(-1)

    def select(self, keep_G: Tensor) -> SearchBatch:
        """The batch of the groups where ``keep_G`` is true; order is kept."""
        keep_R = keep_G[self.group_R]
        rows = keep_R.nonzero().squeeze(1)
        new_row = keep_R.cumsum(0) - 1
        new_group = keep_G.cumsum(0) - 1
        asked = keep_R[self.ask_row_Q]
        return SearchBatch(
            upper=self.upper,
            head=self.head,
            cache=self.cache.select(rows),
            suffix_RSH=self.suffix_RSH[rows],
            mask=self.mask[rows],
            positions_RS=self.positions_RS[rows],
            group_R=new_group[self.group_R[rows]],
            hidden_norm_G=self.hidden_norm_G[keep_G],
            ask_row_Q=new_row[self.ask_row_Q[asked]],
            ask_place_Q=self.ask_place_Q[asked],
            answer_Q=self.answer_Q[asked],
            share_Q=self.share_Q[asked],
            kl_row_G=new_row[self.kl_row_G[keep_G]],
            start_GV=None if self.start_GV is None else self.start_GV[keep_G],
        )


@torch.no_grad()
def prepare_batch(
    loaded: LoadedModel, groups: Sequence[GroupRows], *, target_layer: int, compute_dtype: torch.dtype
) -> tuple[SearchBatch, list[Tensor]]:
    """Run what does not depend on δ; returns the batch and, per group, h^L of its bare rows [edits, H]."""
    plans = [plan for i, group in enumerate(groups) for plan in _plan_rows(i, group)]
    lengths = torch.tensor([len(plan.ids) for plan in plans])
    lookups = torch.tensor([plan.row.lookup for plan in plans])
    lower_RTH, cache, positions = _run_rows(loaded, plans, lengths, target_layer=target_layer)
    num_prefix, num_suffix = int(lookups.max()), int((lengths - lookups).max())
    cache.freeze(num_prefix)
    suffix = _from_lookup(lower_RTH, lookups, num_suffix)
    at_lookup = suffix[:, 0].to(compute_dtype)
    bare = [i for i, plan in enumerate(plans) if plan.is_bare]
    of_group = [[i for i in bare if plans[i].group == g] for g in range(len(groups))]
    device = loaded.device
    asks = _asks(plans)
    batch = SearchBatch(
        upper=stretch(loaded.model, loaded.family, target_layer + 1, last=10**6, with_norm=True),
        head=loaded.family.head_module(loaded.model),
        cache=cache,
        suffix_RSH=suffix,
        mask=_suffix_mask(lookups, lengths, num_prefix=num_prefix, num_suffix=num_suffix, like=lower_RTH),
        positions_RS=_from_lookup(positions.to(device)[..., None], lookups, num_suffix)[..., 0],
        group_R=torch.tensor([plan.group for plan in plans], device=device),
        hidden_norm_G=torch.stack([at_lookup[rows].norm(dim=-1).mean() for rows in of_group]),
        ask_row_Q=asks[0].to(device),
        ask_place_Q=asks[1].to(device),
        answer_Q=asks[2].to(device),
        share_Q=asks[3].to(device, compute_dtype),
        kl_row_G=torch.tensor([i for i, plan in enumerate(plans) if not plan.target], device=device),
    )
    return batch, [at_lookup[rows] for rows in of_group]


def _plan_rows(index: int, group: GroupRows) -> list[_RowPlan]:
    num_prompts = sum(len(edit.prompts) for edit in group.edits)
    plans = [
        _RowPlan(row, (*row.ids, *edit.target[:-1]), edit.target, index, 1 / num_prompts, is_bare=i == 0)
        for edit in group.edits
        for i, row in enumerate(edit.prompts)
    ]
    guard = group.edits[0].kl
    return [*plans, _RowPlan(guard, guard.up_to_lookup, (), index, 0.0, is_bare=False)]


def _run_rows(
    loaded: LoadedModel, plans: Sequence[_RowPlan], lengths: Tensor, *, target_layer: int
) -> tuple[Tensor, PrefixCache, Tensor]:
    """h^L of all rows [R, T, H], keys and values above L for δ = 0, and the positions [R, T]."""
    num_tokens = int(lengths.max())
    ids = torch.stack([pad(torch.tensor(plan.ids), (0, num_tokens - len(plan.ids))) for plan in plans]).to(
        loaded.device
    )
    positions = torch.arange(num_tokens, device=loaded.device)[None].expand(len(plans), -1)
    mask = causal_mask(lengths.to(loaded.device), num_tokens, loaded.dtype)
    lower = stretch(loaded.model, loaded.family, 0, last=target_layer)
    hidden = run_stretch(lower, embed(loaded.model, loaded.family, ids), mask, positions_RT=positions)
    cache = PrefixCache()
    upper = stretch(loaded.model, loaded.family, target_layer + 1, last=10**6)
    run_stretch(upper, hidden, mask, positions_RT=positions, cache=cache)
    return hidden, cache, positions


def _from_lookup(values_RTX: Tensor, lookups: Tensor, num_suffix: int) -> Tensor:
    """Cut each row to the tokens from its look-up token on, padded on the right by repeating its last token."""
    places = lookups[:, None] + torch.arange(num_suffix)[None]
    places = places.clamp(max=values_RTX.shape[1] - 1).to(values_RTX.device)
    return values_RTX.gather(1, places[..., None].expand(-1, -1, values_RTX.shape[2])).contiguous()


def _suffix_mask(lookups: Tensor, lengths: Tensor, *, num_prefix: int, num_suffix: int, like: Tensor) -> Tensor:
    prefix_seen = torch.arange(num_prefix)[None] < lookups[:, None]
    place = torch.arange(num_suffix)
    suffix_seen = (place[None, :] <= place[:, None])[None] & (place[None, None, :] < (lengths - lookups)[:, None, None])
    seen = torch.cat([prefix_seen[:, None].expand(-1, num_suffix, -1), suffix_seen], dim=2)
    return additive_mask(seen[:, None].to(like.device), like.dtype)


def _asks(plans: Sequence[_RowPlan]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row, place from the look-up token on, wanted token and weight of every target token."""
    rows, places, answers, shares = [], [], [], []
    for i, plan in enumerate(plans):
        first = len(plan.row.ids) - 1 - plan.row.lookup
        for t, answer in enumerate(plan.target):
            rows.append(i)
            places.append(first + t)
            answers.append(answer)
            shares.append(plan.weight / len(plan.target))
    return torch.tensor(rows), torch.tensor(places), torch.tensor(answers), torch.tensor(shares, dtype=torch.float64)
