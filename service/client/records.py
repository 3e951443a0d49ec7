"""What the service answers, typed: thin, and open to fields that a newer service adds.

Knows nothing of how answers travel. A field that an answer may lack is None; further fields are kept and come out of
``model_dump`` again.
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


class Record(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ListPage(Record):
    """Some items of a list, and how to ask for the next."""

    items: list[dict[str, Any]]
    next: str | None = None


class Progress(Record):
    """How far a batch is within its phase."""

    phase: str
    done: int
    total: int
    eta_s: float | None = None


class Batch(Record):
    """A batch of edits and where it is."""

    id: str
    status: str
    created: str | None = None
    progress: Progress | None = None
    version: str | None = None
    """The version that the batch went into."""
    edits: list[dict[str, Any]] | dict[str, Any] | None = None
    """Of a submission its edits, one record each; of a batch asked for later, counts and those that did not take."""
    report: dict[str, Any] | None = None
    error: str | None = None
    """Why it was rejected or failed, and what to do."""
    warnings: list[dict[str, Any]] = []
    """Of a submission: what is allowed but perhaps not meant."""

    @property
    def is_final(self) -> bool:
        """Nothing happens to this batch by itself any more."""
        return self.status in FINAL

    @property
    def succeeded(self) -> bool:
        """The batch ended as it was meant to."""
        return self.status in SUCCEEDED


class EditRecord(Record):
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


class Guard(Record):
    """A fact that must not change."""

    id: str
    prompt: str
    target: str
    subject: str | None = None
    created: str | None = None
    author: str | None = None


class Version(Record):
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


class Difference(Record):
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


class AuditEntry(Record):
    """One thing that was done."""

    number: int
    at: str
    what: str
    who: str | None = None
    """Name of the API key, ``commit``, ``worker``; None: a local client."""
    details: dict[str, Any] = {}
    """Ids and figures."""
    hash: str


class Verification(Record):
    """Whether the audit is whole."""

    whole: bool
    ledger: dict[str, Any]
    file: dict[str, Any] | None = None
    difference: str | None = None


class Retention(Record):
    """What retention would do now."""

    keep_versions: int
    versions: list[dict[str, Any]]


class PurgeState(Record):
    """How far the erasure of an edit's text is."""

    edit: str
    state: str
    """``asked`` or ``done``."""
    hash: str
    versions: list[str] = []


class Export(Record):
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


class Generation(Record):
    """One answer of the model."""

    prompt: str
    text: str
    finish_reason: str | None = None
    version: str | None = None


class Score(Record):
    """How likely the model finds a target after a prompt."""

    logprob: float
    probability: float
    rank: int
    greedy_match: bool
    version: str | None = None


class Readiness(Record):
    """What ``/readyz`` says."""

    ready: bool
    status: str | None = None
