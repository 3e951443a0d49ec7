"""The answers of the service as types: thin, and open to fields that a newer service adds.

Fields that an answer may lack have a default. Unknown fields are kept, and ``model_dump`` returns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

EditInput = Mapping[str, Any]
"""One edit as API.md has it: ``subject``, ``prompt``, ``target_new``, and optional fields."""

GuardInput = Mapping[str, Any]
"""One guard: ``prompt``, ``target``, and ``subject`` where it is known."""

SUCCEEDED = frozenset({"applied", "candidate", "reported"})
FINAL = SUCCEEDED | {"rejected", "failed", "cancelled", "discarded"}
"""Batch states after which nothing happens by itself."""


class Schema(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ListPage(Schema):
    """Some items of a list, and how to ask for the next."""

    items: list[dict[str, Any]]
    next: str | None = None


class Progress(Schema):
    """How far a batch is within its phase."""

    phase: str
    done: int
    total: int
    eta_s: float | None = None


class EditCounts(Schema):
    """How many edits a batch has."""

    total: int
    """Edits that the batch adds."""
    removed: int
    """Edits that the batch removes from the set."""
    by_status: dict[str, int] = {}
    """Number of added edits in each status; empty in lists and while polling."""
    holding: int | None = None
    """Edits that the model answers with the new object; None: not tested yet, or not counted here."""


class BatchEdit(Schema):
    """An edit of a batch, in short."""

    id: str
    subject: str
    prompt: str
    target_new: str
    relation: str
    status: str
    holds: bool | None = None
    """Whether the model answers with the new object; None: not tested yet."""
    supersedes: str | None = None
    """Id of the live edit about the same subject and relation; only the answer to the submission has it."""
    same_as: str | None = None
    """Id of the live edit that says the same: this one changes nothing."""


class RemovedEdit(Schema):
    """An edit that a batch removes from the set."""

    id: str
    subject: str
    prompt: str
    target_new: str
    relation: str
    restores: str | None = None
    """Id of the earlier edit that comes back into force; only the answer to the submission has it."""


class Batch(Schema):
    """A batch of edits and where it is."""

    id: str
    status: str
    created: str | None = None
    progress: Progress | None = None
    version: str | None = None
    """The version that the batch went into."""
    edit_counts: EditCounts
    edits: list[BatchEdit] = []
    """The edits that the batch adds; empty in lists and while polling."""
    removed: list[RemovedEdit] = []
    """The edits that the batch removes from the set; empty in lists and while polling."""
    report: dict[str, Any] | None = None
    error: str | None = None
    """Why it was rejected or failed, and what to do."""
    warnings: list[dict[str, Any]] = []
    """What is allowed but perhaps not meant; only the answer to the submission has them."""

    @property
    def is_final(self) -> bool:
        """Nothing happens to this batch by itself any more."""
        return self.status in FINAL

    @property
    def succeeded(self) -> bool:
        """The batch ended as it was meant to."""
        return self.status in SUCCEEDED


class EditRecord(Schema):
    """An accepted edit and its state."""

    id: str
    status: str
    subject: str
    prompt: str
    target_new: str
    target_true: str | None = None
    relation: str | None = None
    batch: str | None = None
    version: str | None = None
    created: str | None = None
    author: str | None = None
    paraphrases: list[str] = []
    neighborhood: list[dict[str, Any]] = []
    protect: bool = False
    """Whether the solve holds on to the neighbourhood's answers."""
    source: str | None = None
    note: str | None = None
    holds: bool | None = None
    """Whether the model answers with the new object; None: not tested yet."""
    report: dict[str, Any] | None = None
    purged: dict[str, Any] | None = None
    """When its text was erased, by whom, and the hash of it; None: it is there."""


class Guard(Schema):
    """A fact that must not change."""

    id: str
    prompt: str
    target: str
    subject: str | None = None
    created: str | None = None
    author: str | None = None


class Version(Schema):
    """A version of the weights."""

    id: str
    status: str
    parent: str | None = None
    created: str | None = None
    edits: int | None = None
    digest: str | None = None
    removed: bool = False
    """Its files are gone: it cannot be asked or promoted any more."""
    pinned: bool = False
    """Kept, however old it becomes."""


class Difference(Schema):
    """Two versions side by side."""

    a: str
    b: str
    same_weights: bool
    added: list[dict[str, Any]]
    superseded: list[dict[str, Any]]
    """Each with ``old`` and ``new``."""
    reverted: list[dict[str, Any]]
    answers: list[dict[str, Any]] = []
    """To each prompt that was given, ``a`` and ``b``."""


class Promotion(Version):
    """The version that is live now, and what its promotion changed."""

    revision: int
    """The promotion's number."""
    rolled_back: Sequence[str] = ()
    """Edits no longer in force."""
    restored: Sequence[str] = ()
    """Edits in force again."""


class AuditEntry(Schema):
    """One thing that was done."""

    number: int
    at: str
    what: str
    who: str | None = None
    """Name of the API key, ``commit``, ``worker``; None: a local client."""
    details: dict[str, Any] = {}
    """Ids and figures."""
    hash: str


class Verification(Schema):
    """Whether the audit is whole."""

    whole: bool
    ledger: dict[str, Any]
    file: dict[str, Any] | None = None
    difference: str | None = None


class Retention(Schema):
    """What retention would do now."""

    keep_versions: int
    versions: list[dict[str, Any]]


class PurgeState(Schema):
    """How far the erasure of an edit's text is."""

    edit: str
    state: str
    """``asked`` or ``done``."""
    hash: str
    versions: list[str] = []


class Export(Schema):
    """A version that is written, or was, into the service's data folder."""

    id: str
    status: str
    version: str
    format: str
    progress: Progress | None = None
    path: str
    """Its folder within the service's data folder."""
    result: dict[str, Any] | None = None
    """What came out; None before it is done."""
    error: str | None = None
    """Why it failed, and what to do."""

    @property
    def is_final(self) -> bool:
        """Nothing happens to this export by itself any more."""
        return self.status in {"done", "failed"}


class Generation(Schema):
    """One answer of the model."""

    prompt: str
    text: str
    finish_reason: str | None = None
    version: str | None = None


class GenerationPiece(Schema):
    """The text by which a streamed generation has grown; the last piece has no text and holds the rest."""

    text: str = ""
    finish_reason: str | None = None
    version: str | None = None
    usage: dict[str, int] | None = None
    logprobs: list[dict[str, Any]] | None = None


class Score(Schema):
    """How likely the model finds a target after a prompt."""

    logprob: float
    probability: float
    rank: int
    greedy_match: bool
    version: str | None = None


class Readiness(Schema):
    """What ``/readyz`` says."""

    ready: bool
    status: str | None = None


class ResidentDigest(Schema):
    """A version in the service's memory, and the digest of its matrices there."""

    version: str
    digest: str


class ResidentDigests(Schema):
    """The versions in the service's memory; their digests were computed for this answer."""

    store: str
    """Id of the store that is served."""
    live: str | None = None
    versions: list[ResidentDigest]
