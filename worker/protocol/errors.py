"""The errors of the protocol. They extend the error tree in ``editing_core.errors``.

ErrataError
├── LedgerDown             Redis does not answer, or refuses to write
│   └── LedgerForgotten    … or has lost its data
├── UnsafeRedis            a Redis that may lose accepted batches
├── LedgerBehind           the files on disk are ahead of Redis
├── QueueFull              too many batches wait
├── IdempotencyMismatch    one idempotency key, two bodies
├── InvalidCursor          a cursor that no page returned
├── BatchNotCancellable    a batch in a state that cannot be cancelled
├── NotErasable            an edit whose text is still needed
├── BackupRefused          a backup that cannot be made, read or restored here
├── StaleCandidate         a candidate whose parent is no longer live
├── GuardConflict          two guards with one prompt and different answers
├── AttemptsUsedUp         a unit of work that was started too often
└── LostRace               a transition from a state that has changed
    └── StaleLease         … because the lease has ended
"""

from __future__ import annotations

from typing import ClassVar

from editing_core.errors import ErrataError


class LedgerDown(ErrataError):
    """Redis does not answer, or refuses to write; the caller does not know whether a change was made."""

    slug = "ledger-down"
    title = "The ledger cannot be reached"
    retry_after_seconds: ClassVar[int] = 2


class LedgerForgotten(LedgerDown):
    """Redis has lost its data; the ledger is being restored from the files."""

    slug = "ledger-forgotten"
    title = "The ledger is being restored"


class UnsafeRedis(ErrataError):
    """The configuration of Redis allows it to lose accepted batches."""

    slug = "unsafe-redis"
    title = "This Redis may lose accepted batches"


class LedgerBehind(ErrataError):
    """HEAD on disk is ahead of Redis: an older Redis was restored, or REDIS_URL names another one."""

    slug = "ledger-behind"
    title = "The ledger is older than the version store"


class QueueFull(ErrataError):
    """The largest allowed number of batches has no final state yet."""

    slug = "queue-full"
    title = "The queue is full"
    retry_after_seconds: ClassVar[int] = 10


class IdempotencyMismatch(ErrataError):
    """An idempotency key that was used before with another body."""

    slug = "idempotency-mismatch"
    title = "The idempotency key belongs to another request"


class InvalidCursor(ErrataError):
    """A cursor that no page returned."""

    slug = "invalid-cursor"
    title = "The cursor is not valid"


class BatchNotCancellable(ErrataError):
    """A batch that is being committed, or has its final state."""

    slug = "batch-not-cancellable"
    title = "The batch can no longer be cancelled"


class NotErasable(ErrataError):
    """An edit that is live, pending, or in a pinned version: its text is still needed."""

    slug = "edit-not-erasable"
    title = "The edit's text cannot be erased yet"


class BackupRefused(ErrataError):
    """A backup that cannot be made, read or restored here; nothing was changed."""

    slug = "backup-refused"
    title = "The backup cannot be used"


class StaleCandidate(ErrataError):
    """A candidate whose parent is no longer the live version."""

    slug = "stale-candidate"
    title = "The candidate was made for another live version"


class EditNotLive(ErrataError):
    """An edit to remove that is neither live nor superseded by a live one."""

    slug = "edit-not-live"
    title = "The edit is not live"


class NotACandidate(ErrataError):
    """A version to discard that is not a candidate."""

    slug = "not-a-candidate"
    title = "The version is not a candidate"


class GuardConflict(ErrataError):
    """A guard whose answer to a prompt differs from that of another guard."""

    slug = "guard-conflict"
    title = "Two guards contradict each other"


class AttemptsUsedUp(ErrataError):
    """A unit of work that was started as often as allowed and never finished; the text gives the last reason."""

    slug = "attempts-used-up"
    title = "The work was started too often"


class LostRace(ErrataError):
    """The state differs from the expected one; nothing was changed."""

    slug = "lost-race"
    title = "The state has changed"


class StaleLease(LostRace):
    """The lease of the work has ended; nothing was changed."""

    slug = "stale-lease"
    title = "The lease has ended"
