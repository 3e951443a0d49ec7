"""Caches the inputs of the first edited layer between versions, because no edit changes them.

The content of a set in canonical order decides where its chunks end, not a fixed number of edits. A new edit therefore
changes only its own chunk, and the cached reads of the others are reused bit for bit. A cache belongs to one model with
one configuration. Knows no model and no files.
"""

# Dims: N edits of a chunk, T tokens, M width of the projection's input, H hidden size.

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editing_core.memit.tokens import TokenRow

ChunkRows = Sequence[Sequence[TokenRow]]
MOST_BYTES = 1 << 30
"""Maximum size of the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSize:
    """The number of edits that run together."""

    usual: int
    """On average, one edit in this many ends a chunk."""
    most: int


def chunk_size(device: torch.device) -> ChunkSize:
    """Return the chunk size. Chunks are larger on a GPU: with few rows, calling a block takes longer than its work."""
    return ChunkSize(usual=96, most=192) if device.type == "cuda" else ChunkSize(usual=32, most=64)


@dataclass(frozen=True, slots=True)
class FirstRead:
    """The state of a chunk at the first edited layer, on the original weights."""

    hidden: tuple[Tensor, ...]
    """Inputs of the layer, [N, T, H] for each context."""
    keys_NM: Tensor
    targets_now_NH: Tensor
    """h^L of the bare rows."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in (*self.hidden, self.keys_NM, self.targets_now_NH))

    def to(self, device: torch.device | str) -> FirstRead:
        """Return a copy on another device."""
        hidden = tuple(tensor.to(device) for tensor in self.hidden)
        return FirstRead(hidden, self.keys_NM.to(device), self.targets_now_NH.to(device))


class KeptReads:
    """First reads in main memory, keyed by the rows of their chunks."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._reads: dict[tuple[tuple[TokenRow, ...], ...], FirstRead] = {}
        self._used: set[tuple[tuple[TokenRow, ...], ...]] = set()
        """Keys that the current set uses."""
        self.num_made = 0
        """Number of chunks that were not in the cache."""

    def chunks(self, rows: ChunkRows, size: ChunkSize) -> Iterator[ChunkRows]:
        """Cut a set into chunks. It becomes the current set."""
        self._used.clear()
        first = 0
        for i, edit in enumerate(rows):
            if i + 1 == len(rows) or i + 1 - first == size.most or _ends_chunk(edit, size):
                yield rows[first : i + 1]
                first = i + 1

    def get(self, rows: ChunkRows, *, device: torch.device, make: Callable[[], FirstRead]) -> FirstRead:
        """Return the cached read of a chunk, or the result of ``make``."""
        key = tuple(tuple(edit) for edit in rows)
        if (kept := self._reads.get(key)) is not None:
            self._used.add(key)
            return kept.to(device)
        made = make()
        self.num_made += 1
        if self._make_room(made.size_bytes):
            self._reads[key] = made.to("cpu")
            self._used.add(key)
        return made

    def _make_room(self, size_bytes: int) -> bool:
        """Drop reads that the current set does not use, and return whether the new read fits then."""
        held = sum(read.size_bytes for read in self._reads.values())
        for key in [key for key in self._reads if key not in self._used]:
            if held + size_bytes <= self._most_bytes:
                break
            held -= self._reads.pop(key).size_bytes
        return held + size_bytes <= self._most_bytes


def _ends_chunk(edit: Sequence[TokenRow], size: ChunkSize) -> bool:
    content = ",".join(str(i) for row in edit for i in (*row.ids, row.lookup))
    return zlib.crc32(content.encode()) < 2**32 / size.usual
