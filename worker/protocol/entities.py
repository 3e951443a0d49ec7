"""The values that API and workers share: batches and their states, edits, versions, the pointer and leases.

Only ``worker.protocol.ledger`` changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from editing_core.edits import AcceptedEdit
from editing_core.versions.layout import ORIGINAL as ORIGINAL
from editing_core.versions.layout import version_number as version_number

ItemT = TypeVar("ItemT")


class BatchState(StrEnum):
    """queued → computing → ready → applying → checking → a final state; `candidate` can still end otherwise."""

    QUEUED = "queued"
    COMPUTING = "computing"
    READY = "ready"
    APPLYING = "applying"
    CHECKING = "checking"
    CANDIDATE = "candidate"
    APPLIED = "applied"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REPORTED = "reported"
    DISCARDED = "discarded"


FINAL_STATES = frozenset({
    BatchState.APPLIED,
    BatchState.REJECTED,
    BatchState.FAILED,
    BatchState.CANCELLED,
    BatchState.REPORTED,
    BatchState.DISCARDED,
})
SETTLED_STATES = FINAL_STATES | {BatchState.CANDIDATE}
"""States that a batch leaves only on a request."""
CANCELLABLE_STATES = frozenset({BatchState.QUEUED, BatchState.COMPUTING, BatchState.READY})
COMMIT_STATES = frozenset({BatchState.APPLYING, BatchState.CHECKING})


class EditStatus(StrEnum):
    """Status of an edit, derived from its batch and the live version."""

    PENDING = "pending"
    LIVE = "live"
    CANDIDATE = "candidate"
    SUPERSEDED = "superseded"
    TAKEN_OUT = "taken_out"
    ROLLED_BACK = "rolled_back"
    DROPPED = "dropped"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """The options of a batch."""

    promote: Literal["auto", "manual"] = "auto"
    on_failure: Literal["reject", "drop"] = "reject"
    dry_run: bool = False
    """Report the effect without committing."""

    @property
    def is_alone(self) -> bool:
        """Whether the batch is committed alone."""
        return self.dry_run or self.promote == "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """The part of a batch that never changes, without its edits (``ledger.batches.edits``)."""

    id: str
    acceptance: int
    """Grows with every batch. Of two edits with the same subject and relation, the one accepted last is live."""
    created: str
    author: str | None
    options: BatchOptions
    num_edits: int
    shard_size: int
    """Number of edits in one job. The last shard may have fewer."""
    request_hash: str
    remove: tuple[str, ...] = ()
    """Ids of the edits that the batch removes."""
    request: str | None = None
    """Id of the HTTP request, for the logs. Manifests do not store it."""

    @property
    def num_shards(self) -> int:
        """Number of jobs that compute the targets of the batch."""
        return -(-self.num_edits // self.shard_size)

    def summary(self) -> dict[str, Any]:
        """Return the summary of the batch for the manifest of a version. ``from_summary`` reads it."""
        fields = asdict(self) | {"remove": list(self.remove)}
        return {name: value for name, value in fields.items() if name not in {"id", "request"}}

    @classmethod
    def from_summary(cls, batch: str, summary: dict[str, Any]) -> BatchSpec:
        """Read a summary from ``summary``. Other keys are ignored."""
        plain = ("acceptance", "created", "author", "num_edits", "shard_size", "request_hash")
        return cls(
            id=batch,
            options=BatchOptions(**summary["options"]),
            remove=tuple(summary.get("remove", ())),
            request=summary.get("request"),
            **{name: summary[name] for name in plain},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a batch within its current phase."""

    phase: str
    done: int
    total: int
    eta_s: float | None = None
    """Estimated seconds to the end of the phase; None if unknown."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """The current record of a batch."""

    spec: BatchSpec
    status: BatchState
    updated: str
    progress: Progress | None = None
    progress_number: int = 0
    """Grows with every change of the record."""
    version: str | None = None
    """The version that contains the batch."""
    report: dict[str, Any] | None = None
    error: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the batch has a final state."""
        return self.status in FINAL_STATES

    @property
    def is_settled(self) -> bool:
        """Whether the batch changes only on a request."""
        return self.status in SETTLED_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The result of accepting a batch."""

    record: BatchRecord
    edits: tuple[AcceptedEdit, ...]
    replayed: bool
    """Whether the batch was accepted before under the same idempotency key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRecord:
    """The current record of an edit."""

    accepted: AcceptedEdit
    status: EditStatus
    version: str | None
    """The version that contains the edit's batch."""
    report: dict[str, Any] | None
    purged: dict[str, Any] | None = None
    """Time, author and content hash of an erased edit; None if the edit is not erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """A published version. Its weights and its set of edits are in the store."""

    id: str
    parent: str | None
    created: str
    num_edits: int
    digest: str
    checks: dict[str, Any] = field(default_factory=dict)
    delta_norms: dict[str, float] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    batches: tuple[str, ...] = ()
    """Batches that this version added."""
    status: Literal["live", "retired", "candidate", "discarded"] = "retired"
    expires: str | None = None
    """Expiry of a candidate."""
    removed: bool = False
    """Whether the files are deleted. If so, the version can no longer answer or be promoted."""
    pinned: bool = False
    """Whether the version is pinned. Retention never removes pinned versions."""

    @property
    def number(self) -> int:
        """The number of the version: 12 for v12."""
        return version_number(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """The live version, and how often the pointer has changed."""

    revision: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The effect of a promotion. ``pointer.revision`` is the number of the promotion."""

    pointer: Pointer
    previous: str
    rolled_back: tuple[str, ...]
    """Edits that are no longer live."""
    restored: tuple[str, ...]
    """Edits that are live again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The exclusive right to work on a unit for a limited time."""

    unit: str
    token: int
    """Fencing token. It grows with every lease of any unit."""
    attempt: int
    ttl_seconds: float
    holder: str

    @property
    def fence(self) -> str:
        """The token as Redis stores it."""
        return str(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[ItemT]):
    """One page of a list, newest first."""

    items: Sequence[ItemT]
    next: str | None
    """Opaque cursor of the next page; None on the last page."""
