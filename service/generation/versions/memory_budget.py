"""Decides whether the matrices of one more version fit into the memory that versions may use."""

from __future__ import annotations

from collections.abc import Callable

RESERVED_BYTES = 256 * 1024 * 1024
"""Memory that stays free for the keys and values of answers and for the intermediate tensors of a step."""


class MemoryBudget:
    """The memory for versions: a fixed number of bytes, or all free memory of the device."""

    def __init__(self, *, limit_bytes: int | None, free_bytes: Callable[[], int | None]) -> None:
        """``free_bytes`` returns the free memory of the device, or None if it is unknown. Then everything fits."""
        self._limit_bytes = limit_bytes
        self._free_bytes = free_bytes

    def missing_bytes(self, needed_bytes: int, *, held_bytes: int) -> int:
        """Return how many bytes must be freed before ``needed_bytes`` more fit; 0 if they fit now."""
        if not needed_bytes:
            return 0
        if self._limit_bytes is not None:
            return max(0, held_bytes + needed_bytes - self._limit_bytes)
        free = self._free_bytes()
        return 0 if free is None else max(0, needed_bytes + RESERVED_BYTES - free)
