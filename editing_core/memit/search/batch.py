"""The tensors of several searches for z side by side, and the loss of each for a given δ.

Above the target layer L only the tokens from the look-up token on depend on δ: keys and values of the earlier ones are
kept, and the vocabulary head sees the target positions only. Searches leave a batch (``select``) and others take their
places (``joined``). Knows no optimiser.
"""

# Dims: G groups (one δ each), R rows, P prefix tokens, S suffix tokens, H hidden size, V vocabulary,
# Q positions whose next token is asked for.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, pad

from editing_core.models.blocks import additive_mask, run_stretch


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

    def get_seq_length(self, _layer_idx: int = 0) -> int:
        """Tokens that are there before; masks and positions are given, so only a shape depends on it."""
        return 0 if self.recording else next(iter(self.layers.values()))[0].shape[2]

    def freeze(self, num_tokens: int) -> None:
        """Keep the first ``num_tokens`` of what was recorded; from now on only put them in front."""
        self.layers = {i: (_first(k, num_tokens), _first(v, num_tokens)) for i, (k, v) in self.layers.items()}
        self.recording = False

    def select(self, rows: Tensor, num_tokens: int) -> PrefixCache:
        """The cache of some rows, cut to its first ``num_tokens``."""
        return _frozen({
            i: (_first(k[rows.to(k.device)], num_tokens), _first(v[rows.to(v.device)], num_tokens))
            for i, (k, v) in self.layers.items()
        })

    def joined(self, other: PrefixCache, num_tokens: int) -> PrefixCache:
        """The rows of both, padded to ``num_tokens`` with what nothing looks at."""
        return _frozen({
            i: (_stacked(k, other.layers[i][0], num_tokens), _stacked(v, other.layers[i][1], num_tokens))
            for i, (k, v) in self.layers.items()
        })


def _frozen(layers: dict[int, tuple[Tensor, Tensor]]) -> PrefixCache:
    made = PrefixCache()
    made.layers, made.recording = layers, False
    return made


def _first(tensor: Tensor, num_tokens: int) -> Tensor:
    return tensor[:, :, :num_tokens].contiguous()


def _stacked(one: Tensor, other: Tensor, num_tokens: int) -> Tensor:
    return torch.cat([pad(t, (0, 0, 0, num_tokens - t.shape[2])) for t in (one, other)])


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBatch:
    """What a step needs, for the groups still searching."""

    upper: nn.Module
    """Blocks above L with the final norm."""
    head: nn.Module
    cache: PrefixCache
    suffix_RSH: Tensor
    """h^L from the look-up token on, without δ."""
    lookup_R: Tensor
    length_R: Tensor
    """Tokens of each row."""
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
    start_GV: Tensor
    """Log-probabilities at the guarding row's look-up token for δ = 0; meaningless where that was not read yet."""
    is_started_G: Tensor

    @property
    def num_groups(self) -> int:
        """Searches still going on."""
        return len(self.hidden_norm_G)

    @property
    def num_rows(self) -> int:
        """Rows of all of them."""
        return len(self.group_R)

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

    def started(self, now_GV: Tensor) -> SearchBatch:
        """The same with the starting distribution noted of those that had none yet."""
        if bool(self.is_started_G.all()):
            return self
        start = torch.where(self.is_started_G[:, None], self.start_GV, now_GV)
        return replace(self, start_GV=start, is_started_G=torch.ones_like(self.is_started_G))

    def divergence(self, now_GV: Tensor) -> Tensor:
        """KL(now ‖ start) in nats, [G], with the arguments in the order of the public implementation."""
        return kl_div(self.start_GV, now_GV, log_target=True, reduction="none").sum(-1)

    def select(self, keep_G: Tensor) -> SearchBatch:
        """The batch of the groups where ``keep_G`` is true, no longer than they need; order is kept."""
        keep_R = keep_G[self.group_R]
        rows = keep_R.nonzero().squeeze(1)
        new_row = keep_R.cumsum(0) - 1
        new_group = keep_G.cumsum(0) - 1
        asked = keep_R[self.ask_row_Q]
        lookup, length = self.lookup_R[rows], self.length_R[rows]
        num_prefix, num_suffix = int(lookup.max()), int((length - lookup).max())
        suffix = self.suffix_RSH[rows, :num_suffix].contiguous()
        return replace(
            self,
            cache=self.cache.select(rows, num_prefix),
            suffix_RSH=suffix,
            lookup_R=lookup,
            length_R=length,
            mask=suffix_mask(lookup, length, num_prefix=num_prefix, like=suffix),
            positions_RS=suffix_positions(lookup, length, num_suffix),
            group_R=new_group[self.group_R[rows]],
            hidden_norm_G=self.hidden_norm_G[keep_G],
            ask_row_Q=new_row[self.ask_row_Q[asked]],
            ask_place_Q=self.ask_place_Q[asked],
            answer_Q=self.answer_Q[asked],
            share_Q=self.share_Q[asked],
            kl_row_G=new_row[self.kl_row_G[keep_G]],
            start_GV=self.start_GV[keep_G],
            is_started_G=self.is_started_G[keep_G],
        )

    def joined(self, other: SearchBatch) -> SearchBatch:
        """The groups of both, these first, padded to a common length."""
        lookup, length = torch.cat([self.lookup_R, other.lookup_R]), torch.cat([self.length_R, other.length_R])
        num_prefix, num_suffix = int(lookup.max()), int((length - lookup).max())
        suffix = torch.cat([pad(t, (0, 0, 0, num_suffix - t.shape[1])) for t in (self.suffix_RSH, other.suffix_RSH)])
        return replace(
            self,
            cache=self.cache.joined(other.cache, num_prefix),
            suffix_RSH=suffix,
            lookup_R=lookup,
            length_R=length,
            mask=suffix_mask(lookup, length, num_prefix=num_prefix, like=suffix),
            positions_RS=suffix_positions(lookup, length, num_suffix),
            group_R=torch.cat([self.group_R, other.group_R + self.num_groups]),
            hidden_norm_G=torch.cat([self.hidden_norm_G, other.hidden_norm_G]),
            ask_row_Q=torch.cat([self.ask_row_Q, other.ask_row_Q + self.num_rows]),
            ask_place_Q=torch.cat([self.ask_place_Q, other.ask_place_Q]),
            answer_Q=torch.cat([self.answer_Q, other.answer_Q]),
            share_Q=torch.cat([self.share_Q, other.share_Q]),
            kl_row_G=torch.cat([self.kl_row_G, other.kl_row_G + self.num_rows]),
            start_GV=torch.cat([self.start_GV, other.start_GV]),
            is_started_G=torch.cat([self.is_started_G, other.is_started_G]),
        )


def suffix_positions(lookup_R: Tensor, length_R: Tensor, num_suffix: int) -> Tensor:
    """Positions [R, S] of the tokens from the look-up token on; padding stands where the last token does."""
    places = lookup_R[:, None] + torch.arange(num_suffix, device=lookup_R.device)
    return torch.minimum(places, length_R[:, None] - 1)


def suffix_mask(lookup_R: Tensor, length_R: Tensor, *, num_prefix: int, like: Tensor) -> Tensor:
    """Additive mask [R, 1, S, P + S] in the dtype of ``like`` [R, S, H]: prefix and earlier suffix tokens are seen."""
    place_P = torch.arange(num_prefix, device=lookup_R.device)
    place_S = torch.arange(like.shape[1], device=lookup_R.device)
    prefix_seen = (place_P[None] < lookup_R[:, None])[:, None].expand(-1, len(place_S), -1)
    causal = place_S[None, :] <= place_S[:, None]
    suffix_seen = causal[None] & (place_S[None, :] < (length_R - lookup_R)[:, None])[:, None]
    return additive_mask(torch.cat([prefix_seen, suffix_seen], dim=2)[:, None], like.dtype)
