"""The tensors of several searches for z in one batch, and the log-probabilities of each for a given δ.

Above the target layer L, only the tokens from the look-up token on depend on δ. The keys and values of earlier tokens
are cached, and the vocabulary head sees only the target positions. Rows share bins (``packing``). Searches leave a
batch, and others join it (``merged``). Knows no loss and no optimiser.
"""

# Dims: G groups (one δ each), R rows, B bins, P prefix places of a bin, S suffix places, H hidden size, V vocabulary,
# Q positions whose next token is predicted.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from editing_core.memit.search.packing import Extent, Packing, pack
from editing_core.memit.search.parts import Part
from editing_core.memit.search.prefix_cache import PrefixCache, gather_caches
from editing_core.models.blocks import additive_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTensors:
    """The values of rows and groups that do not depend on the layout."""

    lookup_R: Tensor
    """Flat place of each row's look-up token in the suffix parts."""
    group_R: Tensor
    hidden_norm_G: Tensor
    """‖h^L‖ at the look-up token of the bare row; the mean over the edits if a subject has several."""
    ask_row_Q: Tensor
    ask_place_Q: Tensor
    """Place of each predicting token, counted from the row's look-up token."""
    answer_Q: Tensor
    share_Q: Tensor
    """Weight of each target token in its group's NLL. The weights of a group add up to 1."""
    kl_row_G: Tensor
    start_GV: Tensor
    """Log-probabilities at the guarding row's look-up token for δ = 0; undefined until they are computed."""
    is_started_G: Tensor

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.group_R)

    @property
    def num_groups(self) -> int:
        """G."""
        return len(self.hidden_norm_G)

    @property
    def read_places(self) -> Tensor:
        """Flat suffix places that the vocabulary head sees: the targets' places, then the guarding rows' [Q + G]."""
        return torch.cat([self.lookup_R[self.ask_row_Q] + self.ask_place_Q, self.lookup_R[self.kl_row_G]])

    def select(self, keep_G: Tensor) -> tuple[RowTensors, Tensor]:
        """Return the groups for which ``keep_G`` is true, in the same order, and the old numbers of their rows."""
        keep_R = keep_G[self.group_R]
        rows = keep_R.nonzero().squeeze(1)
        new_row, new_group = keep_R.cumsum(0) - 1, keep_G.cumsum(0) - 1
        asked = keep_R[self.ask_row_Q]
        kept = RowTensors(
            lookup_R=self.lookup_R[rows],
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
        return kept, rows

    def joined(self, other: RowTensors) -> RowTensors:
        """Return the rows and groups of both, these first."""
        numbers = {"group_R": self.num_groups, "ask_row_Q": self.num_rows, "kl_row_G": self.num_rows}
        return RowTensors(**{
            name: torch.cat([getattr(self, name), getattr(other, name) + numbers.get(name, 0)])
            if name != "is_started_G"
            else torch.cat([self.is_started_G, other.is_started_G])
            for name in RowTensors.__slots__
        })


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBatch:
    """All inputs of a step, for the groups that still search."""

    upper: Part
    """Blocks above L with the final norm."""
    head: nn.Module
    extents: tuple[Extent, ...]
    packing: Packing
    cache: PrefixCache
    suffix_BSH: Tensor
    """h^L from the look-up tokens on, without δ."""
    mask: Tensor
    """Additive, [B, 1, S, P + S]."""
    positions_BS: Tensor
    rows: RowTensors

    @property
    def num_groups(self) -> int:
        """Number of searches that still run."""
        return self.rows.num_groups

    @property
    def num_rows(self) -> int:
        """Number of rows of all running searches."""
        return self.rows.num_rows

    def log_probabilities(self, delta_GH: Tensor) -> tuple[Tensor, Tensor]:
        """Return per group the NLL of its targets [G] and its guarding row's log-probabilities [G, V], in δ's dtype."""
        rows, flat = self.rows, self.suffix_BSH.flatten(0, 1)
        moved = (flat[rows.lookup_R].to(delta_GH.dtype) + delta_GH[rows.group_R]).to(flat.dtype)
        hidden = flat.index_copy(0, rows.lookup_R, moved).view_as(self.suffix_BSH)
        read = rows.read_places
        out = self.upper.run(hidden, self.mask, positions_BT=self.positions_BS, cache=self.cache, read_Q=read)
        logits = self.head(out.flatten(0, 1)[read.to(out.device)])
        log_probs = log_softmax(logits.to(delta_GH.device, delta_GH.dtype), dim=-1)
        answers = log_probs[: len(rows.answer_Q)].gather(1, rows.answer_Q[:, None]).squeeze(1)
        nll = torch.zeros_like(rows.hidden_norm_G).index_add(0, rows.group_R[rows.ask_row_Q], -answers * rows.share_Q)
        return nll, log_probs[len(rows.answer_Q) :]

    def started(self, now_GV: Tensor) -> SearchBatch:
        """Return the same batch, with ``now_GV`` as the starting distribution of the searches that have none yet."""
        rows = self.rows
        if bool(rows.is_started_G.all()):
            return self
        start = torch.where(rows.is_started_G[:, None], rows.start_GV, now_GV)
        return replace(self, rows=replace(rows, start_GV=start, is_started_G=torch.ones_like(rows.is_started_G)))

    def select(self, keep_G: Tensor) -> SearchBatch:
        """Return the batch of the groups for which ``keep_G`` is true, in the same order."""
        return merged([self], [keep_G])


def merged(batches: Sequence[SearchBatch], keeps: Sequence[Tensor]) -> SearchBatch:
    """Return the groups of all batches for which ``keep_G`` is true, in order, in new bins."""
    chosen = [batch.rows.select(keep) for batch, keep in zip(batches, keeps, strict=True)]
    numbers = [rows.cpu() for _, rows in chosen]
    extents = tuple(batch.extents[r] for batch, rows in zip(batches, numbers, strict=True) for r in rows.tolist())
    packing = pack(extents)
    prefixes = list(accumulate((b.packing.num_bins * b.packing.num_prefix for b in batches), initial=0))
    old = list(zip(batches, numbers, prefixes, strict=False))
    index = packing.prefix_index(
        torch.cat([batch.packing.flat_shared[rows] + offset for batch, rows, offset in old]),
        torch.cat([batch.packing.flat_own[rows] + offset for batch, rows, offset in old]),
        fill=-1,
    )
    cache = gather_caches([b.cache for b in batches], index, prefixes[:-1], num_bins=packing.num_bins)
    suffixes = list(accumulate((len(b.suffix_BSH.flatten(0, 1)) for b in batches), initial=0))
    first = torch.cat([b.packing.flat_suffix[r] + at for b, r, at in zip(batches, numbers, suffixes, strict=False)])
    flat = torch.cat([batch.suffix_BSH.flatten(0, 1) for batch in batches])
    rows = chosen[0][0]
    for others, _ in chosen[1:]:
        rows = rows.joined(others)
    suffix = flat[packing.suffix_index(first).to(flat.device)].view(packing.num_bins, packing.num_suffix, -1)
    return laid_out(batches[0], extents=extents, packing=packing, cache=cache, suffix_BSH=suffix, rows=rows)


def laid_out(
    model: Any,
    *,
    extents: tuple[Extent, ...],
    packing: Packing,
    cache: PrefixCache,
    suffix_BSH: Tensor,
    rows: RowTensors,
) -> SearchBatch:
    """Return a batch with the mask and positions of its layout. ``model`` has the ``upper`` blocks and the ``head``."""
    device = suffix_BSH.device
    return SearchBatch(
        upper=model.upper,
        head=model.head,
        extents=extents,
        packing=packing,
        cache=cache,
        suffix_BSH=suffix_BSH,
        mask=additive_mask(packing.suffix_seen()[:, None].to(device), suffix_BSH.dtype),
        positions_BS=packing.suffix_positions().to(device),
        rows=replace(rows, lookup_R=packing.flat_suffix.to(device)),
    )
