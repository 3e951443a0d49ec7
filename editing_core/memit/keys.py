"""Keys and residuals of all edits, in one sweep over the edited layers (MEMIT, Eqns. 19 and 20, Algorithm 1).

Rows end at the look-up token: nothing right of it, and no block above the target layer, changes a key or a residual.
The hidden states that enter a layer are carried from layer to layer. Knows no solve and no files.
"""

# Dims: N edits, C contexts, R rows of a chunk, T tokens, M width of the projection's input, H hidden size.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from editing_core.memit.tokens import Row
from editing_core.models.blocks import captured_inputs, causal_mask, embed, run_stretch, stretch
from editing_core.models.load import LoadedModel

CHUNK_EDITS = 64
"""Edits run together; fixed, so that the shapes depend on the set alone."""


@dataclass(slots=True)
class _Chunk:
    hidden_RTH: Tensor
    """Rows ordered context by context: the bare rows of all edits come first."""
    mask: Tensor
    positions_RT: Tensor
    lookup_R: Tensor
    num_edits: int

    def at_lookup(self, values_RTX: Tensor) -> Tensor:
        """The values at each row's look-up token, [R, X]."""
        return values_RTX[torch.arange(len(self.lookup_R), device=values_RTX.device), self.lookup_R]


class KeySweep:
    """Goes up the edited layers: ``read`` one on the weights so far, then ``advance`` over it with its new weight."""

    def __init__(self, loaded: LoadedModel, rows: Sequence[Sequence[Row]], *, layers: Sequence[int]) -> None:
        """``rows[i]`` are edit i's prompt rows, one per context, the bare one first."""
        self._family = loaded.family
        self._last = layers[-1]
        with torch.no_grad():
            self._chunks = [
                _first_chunk(loaded, rows[i : i + CHUNK_EDITS], first_layer=layers[0])
                for i in range(0, len(rows), CHUNK_EDITS)
            ]

    @torch.no_grad()
    def read(self, model: nn.Module, layer: int, *, bare_weight: float) -> tuple[Tensor, Tensor]:
        """Keys [N, M] into ``layer`` and h^L [N, H] of the bare prompts, both at the look-up token, on ``model``."""
        keys, hidden = [], []
        block = stretch(model, self._family, layer, last=layer)
        above = stretch(model, self._family, layer + 1, last=self._last)
        projection = self._family.projection_module(model, layer)
        for chunk in self._chunks:
            with captured_inputs({layer: projection}) as seen:
                out = run_stretch(block, chunk.hidden_RTH, chunk.mask, positions_RT=chunk.positions_RT)
            keys.append(_mean_over_contexts(chunk.at_lookup(seen[layer]), chunk.num_edits, bare_weight))
            n = chunk.num_edits
            if layer < self._last:
                out = run_stretch(above, out[:n], chunk.mask[:n], positions_RT=chunk.positions_RT[:n])
            hidden.append(out[torch.arange(n, device=out.device), chunk.lookup_R[:n]])
        return torch.cat(keys), torch.cat(hidden)

    @torch.no_grad()
    def advance(self, model: nn.Module, layer: int) -> None:
        """Carry all rows over ``layer``, whose weight in ``model`` is the new one."""
        block = stretch(model, self._family, layer, last=layer)
        for chunk in self._chunks:
            chunk.hidden_RTH = run_stretch(block, chunk.hidden_RTH, chunk.mask, positions_RT=chunk.positions_RT)


def _first_chunk(loaded: LoadedModel, rows: Sequence[Sequence[Row]], *, first_layer: int) -> _Chunk:
    ordered = [edit[c] for c in range(len(rows[0])) for edit in rows]
    lengths = torch.tensor([row.lookup + 1 for row in ordered], device=loaded.device)
    num_tokens = int(lengths.max())
    ids = torch.stack([pad(torch.tensor(r.up_to_lookup), (0, num_tokens - r.lookup - 1)) for r in ordered])
    positions = torch.arange(num_tokens, device=loaded.device)[None].expand(len(ordered), -1)
    mask = causal_mask(lengths, num_tokens, loaded.dtype)
    hidden = embed(loaded.model, loaded.family, ids.to(loaded.device))
    if first_layer > 0:
        below = stretch(loaded.model, loaded.family, 0, last=first_layer - 1)
        hidden = run_stretch(below, hidden, mask, positions_RT=positions)
    return _Chunk(hidden, mask, positions, lengths - 1, len(rows))


def _mean_over_contexts(keys_RM: Tensor, num_edits: int, bare_weight: float) -> Tensor:
    """Weighted mean over contexts: ``bare_weight`` for the first, the rest shared equally; [N, M]."""
    keys_CNM = keys_RM.view(-1, num_edits, keys_RM.shape[-1])
    if len(keys_CNM) == 1:
        return keys_CNM[0]
    return bare_weight * keys_CNM[0] + (1 - bare_weight) * keys_CNM[1:].mean(0)
