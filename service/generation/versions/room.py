"""Whether the matrices of one more version fit into the memory that versions may take. Knows versions by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from editing_core.models.memory import GIGA
from service.generation.errors import NoRoom

SPARE_BYTES = 256 * 1024 * 1024
"""Left free beside a version: keys and values of answers, and what a step computes with."""


class Room:
    """The memory for versions: a fixed number of bytes, or what the device has free."""

    def __init__(self, *, limit_bytes: int | None, free_bytes: Callable[[], int | None]) -> None:
        self._limit_bytes = limit_bytes
        self._free_bytes = free_bytes

    def missing_bytes(self, needed_bytes: int, *, held_bytes: int) -> int:
        """How much has to be given back before so much more can be held; 0: it fits."""
        if not needed_bytes:
            return 0
        if self._limit_bytes is not None:
            return max(0, held_bytes + needed_bytes - self._limit_bytes)
        free = self._free_bytes()
        return 0 if free is None else max(0, needed_bytes + SPARE_BYTES - free)


def no_room(version: str, size_bytes: int, *, missing_bytes: int, using: Sequence[str], is_passing: bool) -> NoRoom:
    """What is said where a version does not fit; ``is_passing``: it will, once answers of others have ended."""
    beside = f"beside {', '.join(using) or 'the model'}"
    if is_passing:
        beside += ": it is loaded when answers of these have ended"
    told = f"{version} needs {size_bytes / GIGA:.3g} GB, {missing_bytes / GIGA:.3g} GB more than there is {beside}"
    return NoRoom(told, is_passing=is_passing)
