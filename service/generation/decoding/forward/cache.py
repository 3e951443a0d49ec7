"""The keys and values of all places of one version, padded to one length and written at each row's own position.

Replaces the library's cache: a model calls ``update`` of a window and attends to the tensors that it returns. The rows
of a call are adjacent places, so they read views and gather nothing. Memory grows in doublings with the longest
request and is freed when no place is used. This module does not depend on tokens or requests.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: P places held and one scratch place, R rows of a call, A heads, L positions held, T tokens of each row,
#       D head size.

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

SMALLEST_LENGTH = 64
SMALLEST_PLACES = 2


class LayerCache(NamedTuple):
    """One layer's tensors: keys and values together [2, P, A, L, D], and each [P, A, L, D]."""

    both: Tensor
    keys: Tensor
    """The first half of ``both``, as a stored view: making a view costs as much as writing a row."""
    values: Tensor


class PlacesCache:
    """Keys and values of each layer, one tensor [2, P, A, L, D], made by the first call that writes."""

    def __init__(self, *, max_places: int, max_length: int) -> None:
        self._max_places = max_places
        self._max_length = max_length
        self._num_places = 0
        self._length = 0
        self._layers: list[LayerCache] = []
        self.epoch = 0
        """Increases whenever tensors are replaced: captures of the old ones are then invalid."""

    @property
    def size_bytes(self) -> int:
        """The memory that the tensors take now."""
        return sum(layer.both.nbytes for layer in self._layers)

    @property
    def num_places(self) -> int:
        """The number of places that the tensors hold now."""
        return self._num_places

    @property
    def length(self) -> int:
        """The number of positions per place that the tensors hold now."""
        return self._length

    @property
    def scratch_place(self) -> int:
        """The index of an extra place behind all others, for rows that are written and never read."""
        return self._num_places

    def reserve(self, *, num_places: int, length: int) -> None:
        """Grow to at least this many places and positions. The contents are kept."""
        assert num_places <= self._max_places
        assert length <= self._max_length
        self._num_places = _grown(self._num_places, num_places, first=SMALLEST_PLACES, most=self._max_places)
        self._length = _grown(self._length, length, first=SMALLEST_LENGTH, most=self._max_length)
        for layer, (old, *_) in enumerate(self._layers):
            if old.shape[1] <= self._num_places or old.shape[3] < self._length:
                new = old.new_zeros(2, self._num_places + 1, old.shape[2], self._length, old.shape[4])
                held = old.shape[1] - 1
                new[:, :held, :, : old.shape[3]] = old[:, :held]
                self._layers[layer] = LayerCache(new, *new)
                self.epoch += 1

    def move(self, source: int, target: int, *, length: int) -> None:
        """Copy the first ``length`` positions of one place over another."""
        for tensor, *_ in self._layers:
            tensor[:, target, :, :length] = tensor[:, source, :, :length]

    def swap(self, one: int, other: int, *, length: int) -> None:
        """Exchange the first ``length`` positions of two places."""
        for tensor, *_ in self._layers:
            layer = tensor[:, one, :, :length].clone()
            tensor[:, one, :, :length] = tensor[:, other, :, :length]
            tensor[:, other, :, :length] = layer

    def clear(self) -> None:
        """Free all memory."""
        self._num_places = self._length = 0
        self._layers.clear()
        self.epoch += 1

    def layer(self, index: int, *, like: Tensor, num_heads: int) -> LayerCache:
        """Return one layer's keys and values. Creates them with the D, dtype and device of ``like`` if necessary."""
        while len(self._layers) <= index:
            shape = (2, self._num_places + 1, num_heads, self._length, like.shape[-1])
            # Zeros, because a masked NaN would still turn the weighted sum into NaN.
            new = like.new_zeros(shape)
            self._layers.append(LayerCache(new, *new))
        return self._layers[index]


class Window:
    """Writes the tokens of some adjacent places at their positions and returns the first ``length`` positions.

    The caller's mask decides which of these positions a row may see.
    """

    def __init__(
        self, cache: PlacesCache, positions_RT: Tensor, *, first: int, length: int, written_R: Tensor | None = None
    ) -> None:
        self._cache = cache
        self._written_R = written_R
        """The places to write; None: the rows' own places."""
        self._positions_RT = positions_RT
        self._first = first
        self._length = length
        self._shared: dict[Hashable, Any] = {}

    def update(
        self, keys_RATD: Tensor, values_RATD: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Store the new keys and values, and return all that may be seen, each as [R, A, length, D]."""
        layer = self._cache.layer(layer_idx, like=keys_RATD, num_heads=keys_RATD.shape[1])
        self._write(layer.keys, keys_RATD)
        self._write(layer.values, values_RATD)
        return self._visible(layer)

    def update_both(self, new_RT2AD: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Do the same as ``update`` for keys and values in one tensor, which a GPU writes with one kernel."""
        layer = self._cache.layer(layer_idx, like=new_RT2AD, num_heads=new_RT2AD.shape[3])
        device = new_RT2AD.device
        where = self.shared(("where", device), lambda: self._where_on(device))
        layer.both.permute(1, 3, 0, 2, 4).index_put_(where, new_RT2AD)
        return self._visible(layer)

    def get_seq_length(self, _layer_idx: int = 0) -> int:
        """Return the number of positions that were filled before this call."""
        return self._length - self._positions_RT.shape[1]

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return a value that all layers of this call need. The first layer computes it."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def _write(self, held_PALD: Tensor, new_RATD: Tensor) -> None:
        """Write one vector per place, head and position: the cheapest way if each row has another position."""
        size = held_PALD.shape[3]
        key = ("targets", held_PALD.device, held_PALD.shape[1])
        targets = self.shared(key, lambda: self._targets_in(held_PALD))
        held_PALD.view(-1, size).index_copy_(0, targets, new_RATD.reshape(-1, size))

    def _visible(self, layer: LayerCache) -> tuple[Tensor, Tensor]:
        rows = slice(self._first, self._first + self._positions_RT.shape[0])
        return layer.keys[rows, :, : self._length], layer.values[rows, :, : self._length]

    def _where_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the places [R, 1] and positions [R, T] to which the rows are written."""
        positions_RT = self._positions_RT.to(device)
        own_R = torch.arange(self._first, self._first + positions_RT.shape[0], device=device)
        rows_R = own_R if self._written_R is None else self._written_R.to(device)
        return rows_R[:, None], positions_RT

    def _targets_in(self, held_PALD: Tensor) -> Tensor:
        """Return the index of each new vector in a layer's tensor, which is viewed as a list of vectors."""
        device, num_heads, length = held_PALD.device, held_PALD.shape[1], held_PALD.shape[2]
        rows_R1, positions_RT = self._where_on(device)
        starts_RA = (rows_R1 * num_heads + torch.arange(num_heads, device=device)) * length
        return (starts_RA[:, :, None] + positions_RT[:, None, :]).reshape(-1)


def _grown(held: int, needed: int, *, first: int, most: int) -> int:
    size = max(held, first)
    while size < needed:
        size *= 2
    return min(size, most)
