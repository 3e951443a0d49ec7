"""Keys and residuals of all edits, in one sweep over the edited layers (MEMIT, Eqns. 19 and 20, Algorithm 1).

Rows end at the look-up token: no later token, and no block above the target layer, changes a key or a residual. The
sweep carries the hidden states from layer to layer. The input of the first edited layer comes from the original model
and can be cached (``kept``). Knows no solve and no files.
"""

# Dims: N edits, T tokens, M width of the projection's input, H hidden size, X either of them.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from editing_core.memit.first_layer_inputs import FirstRead, KeptReads, chunk_size
from editing_core.memit.tokens import TokenRow
from editing_core.models.blocks import captured_inputs, causal_mask, embed, run_stretch, stretch
from editing_core.models.load import LoadedModel
from editing_core.precision import edited_dtype

LENGTH_STEP = 8
"""Lengths are rounded up to a multiple of this. Vector kernels then sum a row in the same order more often, so its
numbers depend less on the other rows of the batch. With this step, two batchings of 100 edits differ by 4e-8 of the
change, without it by 2e-6 (float32)."""


def run_length(lengths: Iterable[int]) -> int:
    """Return the common length of rows of these lengths, padding included."""
    return -(-max(lengths) // LENGTH_STEP) * LENGTH_STEP


@dataclass(slots=True)
class _Rows:
    """The rows of a chunk's edits in one context. They run together, with little padding."""

    mask: Tensor
    positions_NT: Tensor
    lookup_N: Tensor
    hidden_NTH: Tensor
    """The input of the next layer."""

    @classmethod
    def of(cls, rows: Sequence[TokenRow], loaded: LoadedModel) -> _Rows:
        """Make rows in shapes that depend only on them, without any read."""
        lengths = torch.tensor([row.lookup + 1 for row in rows], device=loaded.device)
        num_tokens = run_length(lengths.tolist())
        return cls(
            mask=causal_mask(lengths, num_tokens, loaded.dtype),
            positions_NT=torch.arange(num_tokens, device=loaded.device)[None].expand(len(rows), -1),
            lookup_N=lengths - 1,
            hidden_NTH=torch.empty(0, device=loaded.device),
        )

    def run(self, part: nn.Module, hidden_NTH: Tensor) -> Tensor:
        """Return the rows after ``part``."""
        return run_stretch(part, hidden_NTH, self.mask, positions_RT=self.positions_NT)

    def at_lookup(self, values_NTX: Tensor) -> Tensor:
        """Return the values at each row's look-up token, [N, X]."""
        lookup = self.lookup_N.to(values_NTX.device)
        return values_NTX[torch.arange(len(lookup), device=lookup.device), lookup]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Edits whose rows run together."""

    contexts: tuple[_Rows, ...]
    """The rows of each context; the bare rows come first."""
    first_keys_NM: Tensor
    first_now_NH: Tensor
    """h^L of the bare rows on the original weights."""


class KeySweep:
    """Moves up the edited layers: ``read`` one on the weights so far, then ``advance`` over it with its new weight."""

    def __init__(
        self,
        loaded: LoadedModel,
        rows: Sequence[Sequence[TokenRow]],
        *,
        layers: Sequence[int],
        bare_weight: float,
        kept: KeptReads,
    ) -> None:
        """``rows[i]`` are edit i's prompt rows, one per context; the bare one comes first."""
        self._loaded, self._layers, self._bare_weight = loaded, layers, bare_weight
        with torch.no_grad():
            chunks = kept.chunks(rows, chunk_size(loaded.device))
            self._chunks = [self._begin(chunk, kept) for chunk in chunks]

    @torch.no_grad()
    def read(self, model: nn.Module, layer: int) -> tuple[Tensor, Tensor]:
        """Return keys [N, M] into ``layer`` and h^L [N, H] of bare prompts, both at the look-up token, on ``model``."""
        if layer == self._layers[0]:
            return torch.cat([c.first_keys_NM for c in self._chunks]), torch.cat([c.first_now_NH for c in self._chunks])
        found = [self._read_contexts(model, layer, chunk.contexts) for chunk in self._chunks]
        return torch.cat([keys for keys, _ in found]), torch.cat([hidden for _, hidden in found])

    @torch.no_grad()
    def advance(self, model: nn.Module, layer: int) -> None:
        """Carry all rows over ``layer``; its weight in ``model`` must be the new one."""
        block = stretch(model, self._loaded.family, layer, last=layer)
        for chunk in self._chunks:
            for rows in chunk.contexts:
                rows.hidden_NTH = rows.run(block, rows.hidden_NTH)

    def _read_contexts(self, model: nn.Module, layer: int, contexts: Sequence[_Rows]) -> tuple[Tensor, Tensor]:
        family, last = self._loaded.family, self._layers[-1]
        block, projection = stretch(model, family, layer, last=layer), family.projection_module(model, layer)
        keys, outs = [], []
        for rows in contexts:
            with captured_inputs({layer: projection}) as seen:
                outs.append(rows.run(block, rows.hidden_NTH))
            keys.append(rows.at_lookup(seen[layer]).to(edited_dtype(self._loaded.dtype)))
        bare, out = contexts[0], outs[0]
        if layer < last:
            out = bare.run(stretch(model, family, layer + 1, last=last), out)
        keys_NM = _mean_over_contexts(keys, self._bare_weight)
        return keys_NM.to(self._loaded.device), bare.at_lookup(out).to(self._loaded.device)

    def _begin(self, edits: Sequence[Sequence[TokenRow]], kept: KeptReads) -> _Chunk:
        contexts = tuple(_Rows.of([edit[c] for edit in edits], self._loaded) for c in range(len(edits[0])))
        first = kept.get(edits, device=self._loaded.device, make=lambda: self._first_read(edits, contexts))
        for rows, hidden in zip(contexts, first.hidden, strict=True):
            rows.hidden_NTH = hidden
        return _Chunk(contexts=contexts, first_keys_NM=first.keys_NM, first_now_NH=first.targets_now_NH)

    def _first_read(self, edits: Sequence[Sequence[TokenRow]], contexts: Sequence[_Rows]) -> FirstRead:
        loaded, first_layer = self._loaded, self._layers[0]
        below = stretch(loaded.model, loaded.family, 0, last=first_layer - 1) if first_layer > 0 else None
        for c, rows in enumerate(contexts):
            num_tokens = rows.positions_NT.shape[1]
            ended = [edit[c].up_to_lookup for edit in edits]
            ids = torch.stack([pad(torch.tensor(ids), (0, num_tokens - len(ids))) for ids in ended])
            hidden = embed(loaded.model, loaded.family, ids.to(loaded.device))
            rows.hidden_NTH = hidden if below is None else rows.run(below, hidden)
        keys, targets_now = self._read_contexts(loaded.model, first_layer, contexts)
        return FirstRead(tuple(rows.hidden_NTH for rows in contexts), keys, targets_now)


def _mean_over_contexts(keys: Sequence[Tensor], bare_weight: float) -> Tensor:
    """Return the weighted mean over contexts [N, M]: ``bare_weight`` for the first, equal shares for the rest."""
    if len(keys) == 1:
        return keys[0]
    return bare_weight * keys[0] + (1 - bare_weight) * torch.stack(list(keys[1:])).mean(0)
