"""Keys and residuals of all edits, in one sweep over the edited layers (MEMIT, Eqns. 19 and 20, Algorithm 1).

Rows end at the look-up token: nothing right of it, and no block above the target layer, changes a key or a residual.
The hidden states that enter a layer are carried from layer to layer. What the first edited layer reads is the original
model's and can be kept (``kept``). Knows no solve and no files.
"""

# Dims: N edits, C contexts, R rows of a chunk, T tokens, M width of the projection's input, H hidden size.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from editing_core.memit.kept import FirstRead, KeptReads
from editing_core.memit.tokens import Row
from editing_core.models.blocks import captured_inputs, causal_mask, embed, run_stretch, stretch
from editing_core.models.load import LoadedModel
from editing_core.precision import edited_dtype


@dataclass(slots=True)
class _Chunk:
    """Edits that run together, in shapes that depend on them alone; rows are ordered context by context."""

    mask: Tensor
    positions_RT: Tensor
    lookup_R: Tensor
    num_edits: int
    first_keys_NM: Tensor
    first_now_NH: Tensor
    """h^L of the bare rows on the original weights."""
    hidden_RTH: Tensor
    """What enters the layer that is next."""

    def at_lookup(self, values_RTX: Tensor) -> Tensor:
        """The values at each row's look-up token, [R, X], of the first rows if there are no more."""
        lookup = self.lookup_R[: len(values_RTX)].to(values_RTX.device)
        return values_RTX[torch.arange(len(lookup), device=lookup.device), lookup]


class KeySweep:
    """Goes up the edited layers: ``read`` one on the weights so far, then ``advance`` over it with its new weight."""

    def __init__(
        self,
        loaded: LoadedModel,
        rows: Sequence[Sequence[Row]],
        *,
        layers: Sequence[int],
        bare_weight: float,
        kept: KeptReads,
    ) -> None:
        """``rows[i]`` are edit i's prompt rows, one per context, the bare one first."""
        self._loaded, self._layers, self._bare_weight = loaded, layers, bare_weight
        with torch.no_grad():
            self._chunks = [self._begin(chunk, kept) for chunk in kept.chunks(rows)]

    @torch.no_grad()
    def read(self, model: nn.Module, layer: int) -> tuple[Tensor, Tensor]:
        """Keys [N, M] into ``layer`` and h^L [N, H] of the bare prompts, both at the look-up token, on ``model``."""
        if layer == self._layers[0]:
            return torch.cat([c.first_keys_NM for c in self._chunks]), torch.cat([c.first_now_NH for c in self._chunks])
        found = [self._read_chunk(model, layer, chunk) for chunk in self._chunks]
        return torch.cat([keys for keys, _ in found]), torch.cat([hidden for _, hidden in found])

    @torch.no_grad()
    def advance(self, model: nn.Module, layer: int) -> None:
        """Carry all rows over ``layer``, whose weight in ``model`` is the new one."""
        block = stretch(model, self._loaded.family, layer, last=layer)
        for chunk in self._chunks:
            chunk.hidden_RTH = run_stretch(block, chunk.hidden_RTH, chunk.mask, positions_RT=chunk.positions_RT)

    def _read_chunk(self, model: nn.Module, layer: int, chunk: _Chunk) -> tuple[Tensor, Tensor]:
        family, last = self._loaded.family, self._layers[-1]
        block = stretch(model, family, layer, last=layer)
        with captured_inputs({layer: family.projection_module(model, layer)}) as seen:
            out = run_stretch(block, chunk.hidden_RTH, chunk.mask, positions_RT=chunk.positions_RT)
        keys = chunk.at_lookup(seen[layer]).to(edited_dtype(self._loaded.dtype))
        keys = _mean_over_contexts(keys, chunk.num_edits, self._bare_weight)
        n = chunk.num_edits
        if layer < last:
            above = stretch(model, family, layer + 1, last=last)
            out = run_stretch(above, out[:n], chunk.mask[:n], positions_RT=chunk.positions_RT[:n])
        return keys.to(self._loaded.device), chunk.at_lookup(out[:n]).to(self._loaded.device)

    def _begin(self, rows: Sequence[Sequence[Row]], kept: KeptReads) -> _Chunk:
        loaded = self._loaded
        ordered = [edit[c] for c in range(len(rows[0])) for edit in rows]
        lengths = torch.tensor([row.lookup + 1 for row in ordered], device=loaded.device)
        num_tokens = int(lengths.max())
        nothing = torch.empty(0, device=loaded.device)
        chunk = _Chunk(
            mask=causal_mask(lengths, num_tokens, loaded.dtype),
            positions_RT=torch.arange(num_tokens, device=loaded.device)[None].expand(len(ordered), -1),
            lookup_R=lengths - 1,
            num_edits=len(rows),
            first_keys_NM=nothing,
            first_now_NH=nothing,
            hidden_RTH=nothing,
        )
        first = kept.get(rows, device=loaded.device, make=lambda: self._first_read(ordered, chunk))
        chunk.hidden_RTH, chunk.first_keys_NM, chunk.first_now_NH = (
            first.hidden_RTH,
            first.keys_NM,
            first.targets_now_NH,
        )
        return chunk

    def _first_read(self, ordered: Sequence[Row], chunk: _Chunk) -> FirstRead:
        loaded, first_layer = self._loaded, self._layers[0]
        num_tokens = chunk.positions_RT.shape[1]
        ids = torch.stack([pad(torch.tensor(r.up_to_lookup), (0, num_tokens - r.lookup - 1)) for r in ordered])
        hidden = embed(loaded.model, loaded.family, ids.to(loaded.device))
        if first_layer > 0:
            below = stretch(loaded.model, loaded.family, 0, last=first_layer - 1)
            hidden = run_stretch(below, hidden, chunk.mask, positions_RT=chunk.positions_RT)
        chunk.hidden_RTH = hidden
        keys, targets_now = self._read_chunk(loaded.model, first_layer, chunk)
        return FirstRead(hidden, keys, targets_now)


def _mean_over_contexts(keys_RM: Tensor, num_edits: int, bare_weight: float) -> Tensor:
    """Weighted mean over contexts: ``bare_weight`` for the first, the rest shared equally; [N, M]."""
    keys_CNM = keys_RM.view(-1, num_edits, keys_RM.shape[-1])
    if len(keys_CNM) == 1:
        return keys_CNM[0]
    return bare_weight * keys_CNM[0] + (1 - bare_weight) * keys_CNM[1:].mean(0)
