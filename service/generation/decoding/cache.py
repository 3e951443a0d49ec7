"""Keys and values of all places of one version, padded to one length, written where each place stands.

Stands in for the library's cache: a model calls ``update`` of a window and attends to what it gets back. The used
places are always the first ones, so that a step reads views and gathers nothing; memory grows with the longest request
that is there, in doublings, and is given back when no place is used. Knows no tokens and no requests.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: P places held, N places used, R rows of a prefill, A heads, L positions held, T tokens of a prompt, D head size.

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_LENGTH = 64
SMALLEST_PLACES = 2


class PlacesCache:
    """One pair of tensors [P, A, L, D] per layer, made by the first prompt that is written."""

    def __init__(self, *, max_places: int, max_length: int) -> None:
        self._max_places = max_places
        self._max_length = max_length
        self._num_places = 0
        self._length = 0
        self._keys_PALD: list[Tensor] = []
        self._values_PALD: list[Tensor] = []

    @property
    def size_bytes(self) -> int:
        """Memory that is held now."""
        return sum(t.numel() * t.element_size() for t in (*self._keys_PALD, *self._values_PALD))

    def reserve(self, *, num_places: int, length: int) -> None:
        """Make room for so many places of so many positions; what is there stays."""
        assert num_places <= self._max_places
        assert length <= self._max_length
        self._num_places = _grown(self._num_places, num_places, first=SMALLEST_PLACES, most=self._max_places)
        self._length = _grown(self._length, length, first=SMALLEST_LENGTH, most=self._max_length)
        for tensors in (self._keys_PALD, self._values_PALD):
            for layer, old in enumerate(tensors):
                if old.shape[0] < self._num_places or old.shape[2] < self._length:
                    fresh = old.new_zeros(self._num_places, old.shape[1], self._length, old.shape[3])
                    fresh[: old.shape[0], :, : old.shape[2]] = old
                    tensors[layer] = fresh

    def move(self, source: int, target: int, *, length: int) -> None:
        """Copy the first ``length`` positions of one place over another."""
        for tensor in (*self._keys_PALD, *self._values_PALD):
            tensor[target, :, :length] = tensor[source, :, :length]

    def clear(self) -> None:
        """Give all memory back."""
        self._num_places = self._length = 0
        self._keys_PALD.clear()
        self._values_PALD.clear()

    def layer(self, index: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [P, A, L, D] of one layer; made with the heads, dtype and device of ``like`` if need be."""
        while len(self._keys_PALD) <= index:
            shape = (self._num_places, like.shape[1], self._length, like.shape[3])
            # Zeros and not whatever is in memory: a masked NaN would still spoil the sum it is weighted 0 in.
            self._keys_PALD.append(like.new_zeros(shape))
            self._values_PALD.append(like.new_zeros(shape))
        return self._keys_PALD[index], self._values_PALD[index]


class PromptWindow:
    """Writes whole prompts into places ``first`` … ``first + R - 1``; they see themselves only."""

    def __init__(self, cache: PlacesCache, *, first: int) -> None:
        self._cache = cache
        self._first = first

    def update(
        self, keys_RATD: Tensor, values_RATD: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Keep the prompts' keys and values and give them back as they are."""
        keys_PALD, values_PALD = self._cache.layer(layer_idx, like=keys_RATD)
        rows = slice(self._first, self._first + keys_RATD.shape[0])
        keys_PALD[rows, :, : keys_RATD.shape[2]] = keys_RATD
        values_PALD[rows, :, : values_RATD.shape[2]] = values_RATD
        return keys_RATD, values_RATD

    def get_seq_length(self, _layer_idx: int = 0) -> int:
        """Positions that were there before."""
        return 0


class StepWindow:
    """Writes one token per used place at that place's own position; each sees the first ``length`` positions."""

    def __init__(self, cache: PlacesCache, positions_N: Tensor, *, length: int) -> None:
        self._cache = cache
        self._positions_N = positions_N
        self._places_N = torch.arange(positions_N.shape[0], device=positions_N.device)
        self._length = length

    def update(
        self, keys_NA1D: Tensor, values_NA1D: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Keep the new keys and values and give back all that may be looked at, [N, A, length, D]."""
        keys_PALD, values_PALD = self._cache.layer(layer_idx, like=keys_NA1D)
        places, positions = self._places_N.to(keys_PALD.device), self._positions_N.to(keys_PALD.device)
        keys_PALD[places, :, positions] = keys_NA1D[:, :, 0]
        values_PALD[places, :, positions] = values_NA1D[:, :, 0]
        used = self._places_N.shape[0]
        return keys_PALD[:used, :, : self._length], values_PALD[:used, :, : self._length]

    def get_seq_length(self, _layer_idx: int = 0) -> int:
        """Positions that are looked at, but for the one that is being written."""
        return self._length - 1


def _grown(held: int, needed: int, *, first: int, most: int) -> int:
    size = max(held, first)
    while size < needed:
        size *= 2
    return min(size, most)
