"""Assigns places: decoding entries come first, followed by entries whose prompts are prefilled.

A step of either kind thus sees adjacent places. If an entry changes its place, its cached keys and values are moved.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.generation.decoding.forward.cache import PlacesCache
from service.generation.decoding.forward.calls import Chunk
from service.generation.decoding.requests import Entry, GenerationEntry


class Places:
    """The places of one version: entry i of ``decoding`` followed by ``prefilling`` has place i."""

    def __init__(self, cache: PlacesCache) -> None:
        self._cache = cache
        self.decoding: list[GenerationEntry] = []
        self.prefilling: list[Entry] = []

    def __len__(self) -> int:
        return len(self.decoding) + len(self.prefilling)

    def entries(self) -> list[Entry]:
        """All entries that have a place."""
        return [*self.decoding, *self.prefilling]

    def admit(self, entries: Sequence[Entry]) -> None:
        """Give places to entries whose prompts are to be prefilled."""
        self._cache.reserve(
            num_places=len(self) + len(entries),
            length=max(entry.max_positions for entry in (*entries, *self.entries())),
        )
        self.prefilling.extend(entries)

    def begin_decoding(self, entry: GenerationEntry) -> None:
        """Move an entry whose prompt is prefilled to the end of the decoding entries."""
        place, first = self.prefilling.index(entry), len(self.decoding)
        if place:
            other = self.prefilling[0]
            self._cache.swap(first, first + place, length=max(entry.num_prefilled, other.num_prefilled))
            self.prefilling[place] = other
        self.prefilling.pop(0)
        self.decoding.append(entry)

    def leave(self, entry: Entry) -> None:
        """Free the entry's place; the last entry of its kind takes it."""
        if entry in self.prefilling:
            self._fill(len(self.decoding), self.prefilling, entry)
            return
        assert isinstance(entry, GenerationEntry)
        self._fill(0, self.decoding, entry)
        if self.prefilling:
            first, last = len(self.decoding), self.prefilling.pop()
            self._cache.move(first + 1 + len(self.prefilling), first, length=last.num_prefilled)
            self.prefilling.insert(0, last)

    def _fill(self, first: int, entries: list[Entry] | list[GenerationEntry], entry: Entry) -> None:
        """Remove the entry from its list, which begins at place ``first``, and move the last entry to its place."""
        hole = entries.index(entry)  # type: ignore[arg-type]
        last = entries.pop()
        if last is not entry:
            self._cache.move(first + len(entries), first + hole, length=_cached(last))
            entries[hole] = last  # type: ignore[call-overload]


def _cached(entry: Entry) -> int:
    """Return the number of positions that hold keys and values of the entry."""
    return entry.length if isinstance(entry, GenerationEntry) and entry.ids else entry.num_prefilled


def next_chunk(entry: Entry, size: int) -> Chunk:
    """Return the next ``size`` tokens that the entry has to prefill, or fewer at the end."""
    start, end = entry.num_prefilled, min(entry.num_prefilled + size, len(entry.prefill_ids))
    wanted = entry.logit_positions
    within = range(max(wanted.start, start), min(wanted.stop, end))
    return Chunk(ids=entry.prefill_ids[start:end], start=start, wanted=[place - start for place in within])
