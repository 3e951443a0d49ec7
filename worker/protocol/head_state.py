"""How HEAD, the copy of the pointer on disk, compares with the pointer in Redis: one rule and one text.

Reads neither of the two. Torch-free.
"""

from __future__ import annotations

from enum import StrEnum

from editing_core.versions.head import Head
from worker.protocol.entities import Pointer


class HeadState(StrEnum):
    """The outcome of the comparison."""

    NOTHING_PROMOTED = "nothing_promoted"
    """Neither of the two exists."""
    REDIS_EMPTY = "redis_empty"
    """Only HEAD exists: Redis has lost its data, and a worker writes the ledger again from the files."""
    EQUAL = "equal"
    HEAD_BEHIND = "head_behind"
    """HEAD is missing or older, as after a crash: a worker writes it."""
    HEAD_AHEAD = "head_ahead"
    """HEAD is newer, or names another version at the same revision: an older Redis was restored, or it is another."""


def compare_head(head: Head | None, pointer: Pointer | None) -> HeadState:
    """Compare HEAD with the pointer that Redis knows; None: there is none.

    Read HEAD first: if a promotion falls between the two reads, HEAD then seems behind, which is harmless.
    """
    if pointer is None:
        return HeadState.NOTHING_PROMOTED if head is None else HeadState.REDIS_EMPTY
    if head is None or head.revision < pointer.revision:
        return HeadState.HEAD_BEHIND
    if (head.revision, head.version) == (pointer.revision, pointer.version):
        return HeadState.EQUAL
    return HeadState.HEAD_AHEAD


def describe_promotion(place: Head | Pointer | None) -> str:
    """A revision and its version, for people."""
    return "no promotion" if place is None else f"promotion {place.revision}, version {place.version}"


def describe_older_redis(known: Head | Pointer, pointer: Pointer, *, place: str = "HEAD on disk") -> str:
    """The problem and the ways out if ``place`` knows a later promotion than Redis."""
    return (
        f"{place} is at {describe_promotion(known)}, and Redis is at {describe_promotion(pointer)}: an older Redis was "
        "restored, or this is another Redis. Connect the right one. If its newest data is lost, stop Errata and run "
        "`errata recover --from-files`: every edit that was live stays live, and batches that only the lost data held "
        "must be sent again"
    )
