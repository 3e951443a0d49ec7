"""Keys and values of the tokens that no δ affects, in the form of the library's caches. Knows no searches."""

# Dims: B bins, P prefix places.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class PrefixCache:
    """Keys and values of the prefix parts per block. ``update`` puts them before those of the suffix parts."""

    def __init__(self, layers: dict[int, tuple[Tensor, Tensor]] | None = None) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {} if layers is None else layers
        """[B, heads, P, width] each; empty until they are recorded."""
        self._is_recording = layers is None

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return the keys and values to attend to, [B, heads, tokens, width], as transformers' caches do."""
        if self._is_recording:
            self.layers[layer_idx] = (keys, values)
            return keys, values
        first_keys, first_values = self.layers[layer_idx]
        return torch.cat([first_keys, keys], dim=2), torch.cat([first_values, values], dim=2)

    def get_seq_length(self, _layer_idx: int = 0) -> int:
        """Return the number of cached tokens. Masks and positions are given, so only a shape depends on it."""
        return 0 if self._is_recording else next(iter(self.layers.values()))[0].shape[2]

    def recorded(self) -> PrefixCache:
        """Return a cache that puts the recorded keys and values before new ones."""
        return PrefixCache({i: (k.contiguous(), v.contiguous()) for i, (k, v) in self.layers.items()})


def gather_caches(
    caches: Sequence[PrefixCache], index: Tensor, offsets: Sequence[int], *, num_bins: int
) -> PrefixCache:
    """Return a cache of ``num_bins`` bins whose flat places hold the entries that ``index`` [B · P] names.

    Places are numbered through all caches in order; those of cache i start at ``offsets[i]``. A negative index marks
    padding, which is zero.
    """
    layers = {}
    for i in caches[0].layers:
        keys = _gather([cache.layers[i][0] for cache in caches], index, offsets, num_bins)
        values = _gather([cache.layers[i][1] for cache in caches], index, offsets, num_bins)
        layers[i] = keys, values
    return PrefixCache(layers)


def _gather(parts: Sequence[Tensor], index: Tensor, offsets: Sequence[int], num_bins: int) -> Tensor:
    _, heads, _, width = parts[0].shape
    flat = parts[0].new_zeros(len(index), heads, width)
    for part, offset in zip(parts, offsets, strict=True):
        places = part.shape[0] * part.shape[2]
        here = ((index >= offset) & (index < offset + places)).nonzero().squeeze(1)
        source = (index[here] - offset).to(part.device)
        flat[here.to(part.device)] = part[source // part.shape[2], :, source % part.shape[2]]
    return flat.view(num_bins, -1, heads, width).transpose(1, 2).contiguous()
