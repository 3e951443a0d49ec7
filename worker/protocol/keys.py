"""Every key in Redis and its content. All keys contain the id of the store, so several stores can share a Redis.

A key that ends in a colon is a family: the id of a member follows the colon.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from editing_core.edits import normalise


class Key(StrEnum):
    """Names of keys, without the store's prefix."""

    FORMAT = "format"  # number of the ledger's format: worker.protocol.ledger.formats

    POINTER = "pointer"  # hash {revision, version}: the live version
    PROMOTIONS = "promotions"  # list of JSON: every change of the pointer, with author and time

    ACCEPTANCE = "acceptance"  # number of the last accepted batch
    BATCH = "batch:"  # hash: spec, acceptance, status, progress, version, report, error, token of its commit, dropped
    BATCHES = "batches"  # sorted set of all batches by acceptance: the list, newest first
    OPEN = "open"  # set of batches without a final state, for the reconciler and the limit on waiting batches
    SHARDS = "shards:"  # set per batch: shards whose targets are not computed yet
    SHARD_PROGRESS = "shard-progress:"  # hash per batch: shard -> edits whose targets are computed
    READY = "ready"  # sorted set of batches that wait for a commit, by acceptance
    COMMITTING = "committing"  # set of batches that are applying or checking
    IDEMPOTENCY = "idempotency:"  # hash {request, batch} per API key and idempotency key, for seven days

    EDITS = "edits"  # hash id -> JSON {batch, edit}
    EDIT_REPORTS = "edit-reports"  # hash id -> JSON: the results of the checks
    DROPPED = "dropped"  # set of the edits that were left out of the version of their batch
    EDIT_OUTCOMES = "edit-outcomes"  # hash final state -> number of edits that reached it, for metrics only
    EDIT_SEQUENCE = "edit-sequence"  # number of the last accepted edit: its place in the three lists below
    EDIT_ORDER = "edit-order"  # sorted set of all edits
    BATCH_EDITS = "batch-edits:"  # sorted set of a batch's edits
    SUBJECT_EDITS = "subject-edits:"  # sorted set of the edits about one subject, by the hash of its normalised name

    GUARDS = "guards"  # hash id -> JSON: facts that must hold in every version

    VERSION_NUMBER = "version-number"  # last number that was assigned; never reused
    VERSION = "version:"  # hash {record, removed, discarded, adopted: the revision at which a candidate became live}
    VERSIONS = "versions"  # sorted set of all published versions and candidates by number
    PARENTS = "parents"  # hash version -> parent
    VERSION_EDITS = "version-edits:"  # set of the live edits of a version; deleted with its files
    VERSION_HISTORY = "version-history:"  # set of the edits that live edits supersede or repeat; deleted with its files
    CANDIDATES = "candidates"  # hash version -> expiry, of versions that wait for promotion

    PINS = "pins"  # set of versions that retention never removes
    PURGES = "purges"  # hash edit -> JSON {who, at, reason, hash}: edits whose text is being erased
    AUDIT = "audit"  # append-only list of JSON lines, each with the hash of the previous line
    AUDIT_OF = "audit-of:"  # sorted set of the numbers of the audit entries that name one id
    RESTORING = "restoring"  # digest of the backup that is being restored; deleted at the end

    TOKEN = "token"  # noqa: S105  # number of the last lease: the fencing token
    LEASE = "lease:"  # "token since holder": the lease of a unit; expires
    ATTEMPTS = "attempts"  # hash unit -> number of attempts
    ATTEMPT_ERRORS = "attempt-errors"  # hash unit -> error of the last attempt

    EXPORT = "export:"  # hash {spec, status, updated, progress, result, error} per export
    EXPORTS = "exports"  # sorted set of all exports in the order of their requests
    EXPORT_SEQUENCE = "export-sequence"  # number of the last requested export
    OPEN_EXPORTS = "open-exports"  # set of exports that are queued or running, for the reconciler

    STAGE_SECONDS = "stage-seconds"  # hash stage -> seconds that all workers spent in it, for metrics only
    STAGE_COUNTS = "stage-counts"  # hash stage -> number of runs

    BEAT = "beat:"  # per unit, expires: a worker process runs its job


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one store."""

    store_id: str

    @property
    def prefix(self) -> str:
        """The prefix of every key."""
        return f"errata:{self.store_id}:"

    def at(self, key: Key, member: str = "") -> str:
        """Return the full key. ``member``: the id of the member, for a family."""
        assert key.endswith(":") == bool(member), f"{key} with {member!r}"
        return f"{self.prefix}{key}{member}"


def subject_hash(subject: str) -> str:
    """Return the member of ``SUBJECT_EDITS``. It is the same for subjects that are equal after normalisation."""
    return hashlib.sha256(normalise(subject).encode()).hexdigest()[:32]


def idempotency_hash(owner: str, key: str) -> str:
    """Return the member of ``IDEMPOTENCY``. Idempotency keys of different API keys never collide."""
    return hashlib.sha256(f"{len(owner)}:{owner}:{key}".encode()).hexdigest()


def targets_unit(batch: str, shard: int) -> str:
    """Return the unit of work that computes one shard's targets."""
    return f"targets-{batch}-{shard}"


def batch_of(unit: str) -> str:
    """Return the batch of a unit from ``targets_unit``."""
    return unit.split("-")[1]


RECONCILE_UNIT = "reconcile"
"""Leased by the reconciler: only one process at a time looks for forgotten work."""

COMMIT_UNIT = "commit"
"""The single unit of work that commits ready batches."""


EXPORT_PREFIX = "export-"


def export_unit(export: str) -> str:
    """Return the unit of work that writes one export."""
    return f"{EXPORT_PREFIX}{export}"


def export_of(unit: str) -> str | None:
    """Return the export of a unit from ``export_unit``; None for any other unit."""
    return unit.removeprefix(EXPORT_PREFIX) if unit.startswith(EXPORT_PREFIX) else None


def commit_attempts(batch: str) -> str:
    """Return the name that counts the commit attempts of one batch, because all batches share the commit unit."""
    return f"{COMMIT_UNIT}-{batch}"
