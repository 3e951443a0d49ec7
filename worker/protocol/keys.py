"""Every key in Redis, with its reason; all of them carry the store's id, so that stores can share a Redis.

A key that ends in a colon is a family: the id of its member follows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from editing_core.edits import normalise


class Key(StrEnum):
    """Names of keys, without the store's prefix."""

    FORMAT = "format"  # number of the ledger's format: worker.protocol.ledger.formats

    POINTER = "pointer"  # hash {revision, version}: what is live, alone
    PROMOTIONS = "promotions"  # list of JSON: who moved the pointer, when, from where to where

    ACCEPTANCE = "acceptance"  # number of the batch accepted last
    BATCH = "batch:"  # hash: spec, acceptance, status, progress, version, report, error, token of its commit, dropped
    BATCHES = "batches"  # sorted set of all batches by acceptance: the list, newest first
    OPEN = "open"  # set of batches without a final state: the reconciler's work, and the measure of "queue full"
    SHARDS = "shards:"  # set per batch: shards whose targets are not computed yet
    SHARD_PROGRESS = "shard-progress:"  # hash per batch: shard -> edits whose targets are computed
    READY = "ready"  # sorted set of batches that wait for a commit, by acceptance
    COMMITTING = "committing"  # set of batches that are applying or checking
    IDEMPOTENCY = "idempotency:"  # hash {request, batch} per API key and idempotency key, for seven days

    EDITS = "edits"  # hash id -> JSON {batch, edit}
    EDIT_REPORTS = "edit-reports"  # hash id -> JSON: what the checks found
    DROPPED = "dropped"  # set of the edits that their batches went into a version without
    EDIT_OUTCOMES = "edit-outcomes"  # hash final state -> how many edits reached it: for the figures alone
    EDIT_SEQUENCE = "edit-sequence"  # number of the edit accepted last: its place in the three lists below
    EDIT_ORDER = "edit-order"  # sorted set of all edits
    BATCH_EDITS = "batch-edits:"  # sorted set of a batch's edits
    SUBJECT_EDITS = "subject-edits:"  # sorted set of the edits about one subject, by the hash of its normalised name

    GUARDS = "guards"  # hash id -> JSON: facts that must not change, whatever version is live

    VERSION_NUMBER = "version-number"  # number given out last; never used twice
    VERSION = "version:"  # hash {record, removed, discarded, adopted: the promotion that made a candidate live}
    VERSIONS = "versions"  # sorted set of all published versions and candidates by number
    PARENTS = "parents"  # hash version -> parent: which descends from which
    VERSION_EDITS = "version-edits:"  # set of the edits live in a version; gone when its files are removed
    VERSION_HISTORY = "version-history:"  # set of the edits that those supersede or repeat; gone with them
    CANDIDATES = "candidates"  # hash version -> until when it is kept, of those that wait to be promoted

    PINS = "pins"  # set of versions that are kept however old they become
    PURGES = "purges"  # hash edit -> JSON {who, at, reason, hash}: edits whose text is to be erased everywhere
    AUDIT = "audit"  # list of JSON lines, append-only: who did what, each with the hash of the one before
    AUDIT_OF = "audit-of:"  # sorted set of the numbers of the audit's entries that name one id
    RESTORING = "restoring"  # which backup is being restored; there only until that is done

    TOKEN = "token"  # noqa: S105  # number of the lease given out last: the fence
    LEASE = "lease:"  # "token since holder" of whoever works on a unit, expiring
    ATTEMPTS = "attempts"  # hash unit -> how often it was begun
    ATTEMPT_ERRORS = "attempt-errors"  # hash unit -> why the last attempt ended early

    EXPORT = "export:"  # hash {spec, status, updated, progress, result, error} per export
    EXPORTS = "exports"  # sorted set of all exports, in the order in which they were asked for
    EXPORT_SEQUENCE = "export-sequence"  # number of the export asked for last
    OPEN_EXPORTS = "open-exports"  # set of those that wait or run: the reconciler's work

    STAGE_SECONDS = "stage-seconds"  # hash stage -> seconds spent in it, by all workers: for the figures alone
    STAGE_COUNTS = "stage-counts"  # hash stage -> how often it was gone through

    BEAT = "beat:"  # per unit, expiring: a worker process has its job in hand


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one store."""

    store_id: str

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return f"errata:{self.store_id}:"

    def at(self, key: Key, member: str = "") -> str:
        """The full key; ``member`` for a family."""
        assert key.endswith(":") == bool(member), f"{key} with {member!r}"
        return f"{self.prefix}{key}{member}"


def subject_hash(subject: str) -> str:
    """Member of ``SUBJECT_EDITS``: subjects that are equal when normalised have one."""
    return hashlib.sha256(normalise(subject).encode()).hexdigest()[:32]


def idempotency_hash(owner: str, key: str) -> str:
    """Member of ``IDEMPOTENCY``: keys belong to the API key that sent them."""
    return hashlib.sha256(f"{len(owner)}:{owner}:{key}".encode()).hexdigest()


def targets_unit(batch: str, shard: int) -> str:
    """The unit of work that computes one shard's targets."""
    return f"targets-{batch}-{shard}"


def batch_of(unit: str) -> str:
    """The batch of a unit made by ``targets_unit``."""
    return unit.split("-")[1]


RECONCILE_UNIT = "reconcile"
"""Not work, but leased like it: one process at a time looks for forgotten work."""

COMMIT_UNIT = "commit"
"""The unit of work that puts ready batches into the weights; there is one."""


EXPORT_PREFIX = "export-"


def export_unit(export: str) -> str:
    """The unit of work that writes one export."""
    return f"{EXPORT_PREFIX}{export}"


def export_of(unit: str) -> str | None:
    """The export of a unit made by ``export_unit``; None for any other unit."""
    return unit.removeprefix(EXPORT_PREFIX) if unit.startswith(EXPORT_PREFIX) else None


def commit_attempts(batch: str) -> str:
    """Under which a batch's own commits are counted: the commit unit is shared by all."""
    return f"{COMMIT_UNIT}-{batch}"
