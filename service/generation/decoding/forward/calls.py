"""Plain calls of the model over the places: chunks of prompts, and one token for every decoding place.

An explicit mask limits the positions that a row sees, so neither other rows nor padding affect it. This module works
with tensors and places and does not depend on requests.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: R rows, T tokens of the longest chunk, N decoding places, L positions seen, K positions with logits,
#       V vocabulary.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from editing_core.models.blocks import additive_mask
from service.generation.decoding.forward.cache import PlacesCache, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The next tokens of one prompt."""

    ids: Sequence[int]
    start: int
    """Number of the prompt's tokens that were read before."""
    wanted: Sequence[int]
    """Indices in ``ids`` after which logits are needed."""


class Calls:
    """The calls of one version's model over its cache."""

    def __init__(self, model: nn.Module, cache: PlacesCache) -> None:
        self._model = model
        self._cache = cache
        weight = next(model.parameters())
        self.device, self._dtype = weight.device, weight.dtype

    def prefill(self, chunks: Sequence[Chunk], *, first: int) -> list[Tensor]:
        """Read the chunks into the places from ``first`` on.

        Returns the logits [K, V] after each chunk's wanted tokens.
        """
        num_tokens = max(len(chunk.ids) for chunk in chunks)
        rows = [[*chunk.ids, *([0] * (num_tokens - len(chunk.ids)))] for chunk in chunks]
        length = max(chunk.start + len(chunk.ids) for chunk in chunks)
        starts_R = torch.tensor([chunk.start for chunk in chunks], device=self.device)
        positions_RT = starts_R[:, None] + torch.arange(num_tokens, device=self.device)
        # Padding behind a row is written to positions that the row itself overwrites before it sees them.
        positions_RT = positions_RT.clamp_(max=self._cache.length - 1)
        keep = sorted({place for chunk in chunks for place in chunk.wanted}) or [0]
        logits = self._logits(
            torch.tensor(rows, device=self.device),
            positions_RT,
            Window(self._cache, positions_RT, first=first, length=length),
            length=length,
            keep=torch.tensor(keep, device=self.device),
        )
        where = {place: i for i, place in enumerate(keep)}
        return [logits[row, [where[place] for place in chunk.wanted]] for row, chunk in enumerate(chunks)]

    def decode(self, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Feed the first places their last tokens, at ``positions``. Returns the logits [N, V] after them."""
        positions_N1 = torch.tensor(positions, device=self.device)[:, None]
        length = max(positions) + 1
        window = Window(self._cache, positions_N1, first=0, length=length)
        ids_N1 = torch.tensor(ids, device=self.device)[:, None]
        return self._logits(ids_N1, positions_N1, window, length=length, keep=0)[:, -1]

    def decode_fixed(self, ids_N1: Tensor, positions_N1: Tensor, written_N: Tensor, *, length: int) -> Tensor:
        """Do the same as ``decode`` for tensors on the device. Row i is written to place ``written_N[i]``."""
        window = Window(self._cache, positions_N1, first=0, length=length, written_R=written_N)
        return self._logits(ids_N1, positions_N1, window, length=length, keep=0)[:, -1]

    def _logits(
        self, ids_RT: Tensor, positions_RT: Tensor, window: Window, *, length: int, keep: Tensor | int
    ) -> Tensor:
        seen_RTL = torch.arange(length, device=self.device) <= positions_RT[:, :, None]
        return self._model(
            input_ids=ids_RT,
            attention_mask=additive_mask(seen_RTL[:, None], self._dtype),
            position_ids=positions_RT,
            past_key_values=window,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
