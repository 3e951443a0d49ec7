"""The nouns that both sides of the queue agree on: batches and their states, versions, the pointer, leases.

Values only: who moves them is told in ``worker.protocol.ledger.ledger``.
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
"""In which nothing happens to a batch by itself."""
CANCELLABLE_STATES = frozenset({BatchState.QUEUED, BatchState.COMPUTING, BatchState.READY})
COMMIT_STATES = frozenset({BatchState.APPLYING, BatchState.CHECKING})


class EditStatus(StrEnum):
    """What an edit is worth now, derived from its batch and the live version."""

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
    """What the sender of a batch may choose."""

    promote: Literal["auto", "manual"] = "auto"
    on_failure: Literal["reject", "drop"] = "reject"
    dry_run: bool = False
    """Only tell what would happen."""

    @property
    def is_alone(self) -> bool:
        """Whether the batch is a commit of its own, in no other's company."""
        return self.dry_run or self.promote == "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """What of a batch never changes, but its edits (``Ledger.batches.edits``)."""

    id: str
    acceptance: int
    """Grows with every batch; of two edits about one thing, the one accepted last counts."""
    created: str
    author: str | None
    options: BatchOptions
    num_edits: int
    shard_size: int
    """Edits of one job; the last shard may have fewer."""
    request_hash: str
    remove: tuple[str, ...] = ()
    """Ids of edits that the batch takes out."""
    request: str | None = None
    """The id of the HTTP request that brought it, as logs have it; no manifest keeps it."""

    @property
    def num_shards(self) -> int:
        """Number of jobs that compute the targets of the batch."""
        return -(-self.num_edits // self.shard_size)

    def summary(self) -> dict[str, Any]:
        """What a version's manifest keeps of the batch; the inverse of ``from_summary``."""
        fields = asdict(self) | {"remove": list(self.remove)}
        return {name: value for name, value in fields.items() if name not in {"id", "request"}}

    @classmethod
    def from_summary(cls, batch: str, summary: dict[str, Any]) -> BatchSpec:
        """Read what ``summary`` wrote; further keys are left alone."""
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
    """How far a batch is within its present phase."""

    phase: str
    done: int
    total: int
    eta_s: float | None = None
    """Seconds to the end of the phase; None while unknown."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A batch as it stands."""

    spec: BatchSpec
    status: BatchState
    updated: str
    progress: Progress | None = None
    progress_number: int = 0
    """Grows with every change of the record."""
    version: str | None = None
    """The version that took the batch in."""
    report: dict[str, Any] | None = None
    error: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the batch has reached its end."""
        return self.status in FINAL_STATES

    @property
    def is_settled(self) -> bool:
        """Whether nothing happens to the batch by itself any more."""
        return self.status in SETTLED_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to a batch that was handed in."""

    record: BatchRecord
    edits: tuple[AcceptedEdit, ...]
    replayed: bool
    """The batch was there already, under the same idempotency key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRecord:
    """An edit as it stands."""

    accepted: AcceptedEdit
    status: EditStatus
    version: str | None
    """The version that took the edit in."""
    report: dict[str, Any] | None
    purged: dict[str, Any] | None = None
    """When the edit's text was erased, by whom, and the hash of it; None: it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """A published version; its weights and its whole live set are in the store."""

    id: str
    parent: str | None
    created: str
    num_edits: int
    digest: str
    checks: dict[str, Any] = field(default_factory=dict)
    delta_norms: dict[str, float] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    batches: tuple[str, ...] = ()
    """Batches that this version took in."""
    status: Literal["live", "retired", "candidate", "discarded"] = "retired"
    expires: str | None = None
    """Until when a candidate is kept."""
    removed: bool = False
    """The files are gone; the version cannot be asked or promoted any more."""
    pinned: bool = False
    """Kept, however old it becomes."""

    @property
    def number(self) -> int:
        """12 of v12."""
        return version_number(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What is live, and how often that has changed."""

    revision: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """What promoting an older version has done; ``pointer.revision`` is its number."""

    pointer: Pointer
    previous: str
    rolled_back: tuple[str, ...]
    """Edits taken in since, which are in force no more."""
    restored: tuple[str, ...]
    """Edits that are in force again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on a unit, while it lasts."""

    unit: str
    token: int
    """Grows with every lease of any unit: the fence."""
    attempt: int
    ttl_seconds: float
    holder: str

    @property
    def fence(self) -> str:
        """The token as Redis holds it."""
        return str(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[ItemT]):
    """A piece of a list, newest first."""

    items: Sequence[ItemT]
    next: str | None
    """Opaque; None at the end."""
