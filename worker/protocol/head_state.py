"""Compares HEAD, the copy of the pointer on disk, with the pointer in Redis: one rule and one error text.

Reads neither HEAD nor Redis. Torch-free.
"""

from __future__ import annotations

from enum import StrEnum

from editing_core.versions.head import Head
from worker.protocol.entities import Pointer


class HeadState(StrEnum):
    """The outcome of the comparison."""

    NOTHING_PROMOTED = "nothing_promoted"
    """Neither HEAD nor the pointer exists."""
    REDIS_EMPTY = "redis_empty"
    """Only HEAD exists: Redis has lost its data, and a worker restores the ledger from the files."""
    EQUAL = "equal"
    HEAD_BEHIND = "head_behind"
    """HEAD is missing or older, for example after a crash. A worker writes it."""
    HEAD_AHEAD = "head_ahead"
    """HEAD is newer, or names another version at the same revision: Redis was restored from older data, or replaced."""


def compare_head(head: Head | None, pointer: Pointer | None) -> HeadState:
    """Compare HEAD with the pointer in Redis. None means missing.

    Read HEAD first. If a promotion falls between the two reads, HEAD then seems behind, and this is harmless.
    """
    if pointer is None:
        return HeadState.NOTHING_PROMOTED if head is None else HeadState.REDIS_EMPTY
    if head is None or head.revision < pointer.revision:
        return HeadState.HEAD_BEHIND
    if (head.revision, head.version) == (pointer.revision, pointer.version):
        return HeadState.EQUAL
    return HeadState.HEAD_AHEAD


def describe_promotion(place: Head | Pointer | None) -> str:
    """Return a readable revision and version."""
    return "no promotion" if place is None else f"promotion {place.revision}, version {place.version}"


def describe_older_redis(known: Head | Pointer, pointer: Pointer, *, place: str = "HEAD on disk") -> str:
    """Return the error text if ``place`` has a later promotion than Redis: the problem and the next steps."""
    return (
        f"{place} is at {describe_promotion(known)}, and Redis is at {describe_promotion(pointer)}: an older Redis was "
        "restored, or this is another Redis. Connect the right one. If its newest data is lost, stop Errata and run "
        "`errata recover --from-files`: every edit that was live stays live, and batches that only the lost data held "
        "must be sent again"
    )
