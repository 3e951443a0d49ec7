"""The answers of the service as types: thin, and open to fields that a newer service adds.

Fields that an answer may lack have a default. Unknown fields are kept, and ``model_dump`` returns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

EditInput = Mapping[str, Any]
"""One edit with the fields of ``POST /edits``: ``subject``, ``prompt``, ``target_new``, and optional ones."""

GuardInput = Mapping[str, Any]
"""One guard: ``prompt``, ``target``, and ``subject`` if it is known."""

SUCCEEDED = frozenset({"applied", "candidate", "reported"})
FINAL = SUCCEEDED | {"rejected", "failed", "cancelled", "discarded"}
"""States in which a batch does not change by itself."""


class Schema(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ListPage(Schema):
    """One page of a list, with the cursor of the next page."""

    items: list[dict[str, Any]]
    next: str | None = None


class Progress(Schema):
    """The progress of a batch or export within its phase."""

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
    """A batch of edits and its state."""

    id: str
    status: str
    created: str | None = None
    progress: Progress | None = None
    version: str | None = None
    """The version that holds the batch."""
    edit_counts: EditCounts
    edits: list[BatchEdit] = []
    """The edits that the batch adds; empty in lists and while polling."""
    removed: list[RemovedEdit] = []
    """The edits that the batch removes from the set; empty in lists and while polling."""
    report: dict[str, Any] | None = None
    error: str | None = None
    """Why the batch was rejected or failed, and what to do."""
    warnings: list[dict[str, Any]] = []
    """Inputs that are allowed but perhaps not intended; only the answer to the submission has them."""

    @property
    def is_final(self) -> bool:
        """Whether the batch no longer changes by itself."""
        return self.status in FINAL

    @property
    def succeeded(self) -> bool:
        """Whether the batch ended as requested."""
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
    """Whether the solve protects the answers of the neighbourhood."""
    source: str | None = None
    note: str | None = None
    holds: bool | None = None
    """Whether the model answers with the new object; None: not tested yet."""
    report: dict[str, Any] | None = None
    purged: dict[str, Any] | None = None
    """When the text was erased, by whom, and its hash; None: the text was not erased."""


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
    """Its files are removed: it can no longer generate or be promoted."""
    pinned: bool = False
    """Exempt from retention."""


class Difference(Schema):
    """The difference of two versions."""

    a: str
    b: str
    same_weights: bool
    added: list[dict[str, Any]]
    superseded: list[dict[str, Any]]
    """Each with ``old`` and ``new``."""
    reverted: list[dict[str, Any]]
    answers: list[dict[str, Any]] = []
    """For each prompt the continuations ``a`` and ``b``."""


class Promotion(Version):
    """The version that is live now, with the changes of its promotion."""

    revision: int
    """Number of the promotion."""
    rolled_back: Sequence[str] = ()
    """Edits no longer in force."""
    restored: Sequence[str] = ()
    """Edits in force again."""
    behind: Sequence[str] = ()
    """Ready replicas that still answered with an older version when the wait ended."""


class AuditEntry(Schema):
    """One action."""

    number: int
    at: str
    what: str
    who: str | None = None
    """Name of the API key, ``commit``, ``worker``; None: a local client."""
    details: dict[str, Any] = {}
    """Ids and numbers."""
    hash: str


class Verification(Schema):
    """Whether the audit is complete and unchanged."""

    whole: bool
    ledger: dict[str, Any]
    file: dict[str, Any] | None = None
    difference: str | None = None


class Retention(Schema):
    """The versions that retention would keep and remove now."""

    keep_versions: int
    versions: list[dict[str, Any]]


class PurgeState(Schema):
    """The state of the erasure of an edit's text."""

    edit: str
    state: str
    """``asked`` or ``done``."""
    hash: str
    versions: list[str] = []


class Export(Schema):
    """An export of a version into the service's data folder."""

    id: str
    status: str
    version: str
    format: str
    progress: Progress | None = None
    path: str
    """Its folder within the service's data folder."""
    result: dict[str, Any] | None = None
    """Result of the export; None until it is done."""
    error: str | None = None
    """Why the export failed, and what to do."""

    @property
    def is_final(self) -> bool:
        """Whether the export no longer changes by itself."""
        return self.status in {"done", "failed"}


class Generation(Schema):
    """One generated continuation."""

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
    """The likelihood of a target after a prompt."""

    logprob: float
    probability: float
    rank: int
    greedy_match: bool
    version: str | None = None


class Readiness(Schema):
    """The answer of ``/readyz``."""

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
