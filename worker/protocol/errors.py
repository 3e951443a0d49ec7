"""What can go wrong between the two sides of the queue; branches of the tree in ``editing_core.errors``.

ErrataError
├── LedgerDown             Redis does not answer, or refuses to write
│   └── LedgerForgotten    … or has lost what it knew
├── UnsafeRedis            a Redis that may lose what was accepted
├── LedgerBehind           the files on disk know more than Redis does
├── QueueFull              too many batches wait
├── IdempotencyMismatch    one idempotency key, two bodies
├── InvalidCursor          a page's cursor that nobody gave out
├── BatchNotCancellable    a batch that is too far on to be cancelled
├── NotErasable            an edit whose text is still needed
├── BackupRefused          a backup that cannot be made, read, or put back here
├── StaleCandidate         a candidate whose parent is no longer live
├── GuardConflict          two guards that give one prompt two answers
├── AttemptsUsedUp         a unit of work that was begun too often
└── LostRace               a move whose expected state is not there any more
    └── StaleLease         … because the lease behind it ended
"""

from __future__ import annotations

from typing import ClassVar

from editing_core.errors import ErrataError


class LedgerDown(ErrataError):
    """Redis does not answer, or refuses to write; nothing was changed that the caller can know of."""

    slug = "ledger-down"
    title = "The ledger cannot be reached"
    retry_after_seconds: ClassVar[int] = 2


class LedgerForgotten(LedgerDown):
    """Redis has lost what it knew; it is being written anew from the files."""

    slug = "ledger-forgotten"
    title = "The ledger is being written anew"


class UnsafeRedis(ErrataError):
    """A Redis that may lose accepted batches, by its own configuration."""

    slug = "unsafe-redis"
    title = "This Redis may lose accepted batches"


class LedgerBehind(ErrataError):
    """HEAD on disk is ahead of Redis: an old Redis was restored, or another one is used."""

    slug = "ledger-behind"
    title = "The ledger is older than the version store"


class QueueFull(ErrataError):
    """As many batches as allowed wait without a final state."""

    slug = "queue-full"
    title = "The queue is full"
    retry_after_seconds: ClassVar[int] = 10


class IdempotencyMismatch(ErrataError):
    """An idempotency key that was used before with another body."""

    slug = "idempotency-mismatch"
    title = "The idempotency key belongs to another request"


class InvalidCursor(ErrataError):
    """A cursor that no page has given out."""

    slug = "invalid-cursor"
    title = "The cursor is not valid"


class BatchNotCancellable(ErrataError):
    """A batch that is being put into the weights, or has its final state."""

    slug = "batch-not-cancellable"
    title = "The batch cannot be cancelled any more"


class NotErasable(ErrataError):
    """An edit that is in force, on its way, or in a pinned version: its text is still needed."""

    slug = "edit-not-erasable"
    title = "The edit's text cannot be erased yet"


class BackupRefused(ErrataError):
    """A backup that cannot be made, cannot be read, or cannot be put back here; nothing was changed."""

    slug = "backup-refused"
    title = "The backup cannot be used"


class StaleCandidate(ErrataError):
    """A candidate whose parent is no longer the live version."""

    slug = "stale-candidate"
    title = "The candidate was made for another live version"


class EditNotLive(ErrataError):
    """An edit that is to be taken out and is not in force, nor beneath one that is."""

    slug = "edit-not-live"
    title = "The edit is not in force"


class NotACandidate(ErrataError):
    """A version that is to be discarded and does not wait to be promoted."""

    slug = "not-a-candidate"
    title = "The version is not a candidate"


class GuardConflict(ErrataError):
    """A guard that gives a prompt another answer than one that is kept, or beside it."""

    slug = "guard-conflict"
    title = "Two guards contradict each other"


class AttemptsUsedUp(ErrataError):
    """A unit of work that was begun as often as allowed and never ended; the text names the last reason."""

    slug = "attempts-used-up"
    title = "The work was begun too often"


class LostRace(ErrataError):
    """A move whose expected state is not there any more; nothing was changed."""

    slug = "lost-race"
    title = "The state has changed meanwhile"


class StaleLease(LostRace):
    """The lease under which the work was done has ended; nothing was changed."""

    slug = "stale-lease"
    title = "The lease has ended"
