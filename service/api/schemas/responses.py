"""The bodies of responses, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from worker.protocol.entities import BatchState, EditStatus

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(description="cursor of the next page; null: this is the last page")


class NeighborOut(BaseModel):
    """A neighbour of an edit, as it was submitted."""

    prompt: str
    target: str | None


class EditOut(BaseModel):
    """An edit with its origin and its state."""

    id: str
    subject: str
    prompt: str
    target_new: str
    target_true: str | None
    relation: str
    paraphrases: list[str]
    neighborhood: list[NeighborOut]
    protect: bool = Field(description="whether the solve protects the answers of its neighbourhood")
    source: str | None
    note: str | None
    batch: str
    status: EditStatus = Field(description="derived from the batch and the live version")
    version: str | None = Field(description="the version that holds it")
    created: str
    author: str | None = Field(description="name of the API key; null: a local client")
    holds: bool | None = Field(description="whether the model answers with the new object; null: not tested yet")


class EditDetail(EditOut):
    """An edit with the report of its checks."""

    report: dict[str, Any] | None = Field(
        description="probability and rank of the new and the true object before and after, results of paraphrases and "
        "neighbours, and the free continuation of the model; null: not tested yet"
    )


class BatchEditOut(BaseModel):
    """An edit of a batch."""

    id: str
    subject: str
    prompt: str
    target_new: str
    relation: str
    status: EditStatus
    holds: bool | None = Field(description="whether the model answers with the new object; null: not tested yet")
    supersedes: str | None = Field(
        description="id of the live edit about the same subject and relation; only the answer that accepts the batch "
        "reports it"
    )
    same_as: str | None = Field(description="id of the live edit that says the same: this one changes nothing")


class RemovedEditOut(BaseModel):
    """An edit that the batch removes from the set."""

    id: str
    subject: str
    prompt: str
    target_new: str
    relation: str
    restores: str | None = Field(
        description="id of the earlier edit about the same subject and relation that comes back into force; only the "
        "answer that accepts the batch reports it"
    )


class WarningOut(BaseModel):
    """An input that is allowed but perhaps not intended."""

    loc: list[str | int]
    msg: str


class BatchLinks(BaseModel):
    """Links to related routes."""

    self: str
    events: str
    edits: str


class ProgressOut(BaseModel):
    """The progress of the current phase."""

    phase: str
    done: int
    total: int
    eta_s: float | None


class EditCounts(BaseModel):
    """How many edits a batch has."""

    total: int = Field(description="edits that the batch adds")
    removed: int = Field(description="edits that the batch removes from the set")


class EditCountsByStatus(EditCounts):
    """How many edits a batch has, and what became of them."""

    by_status: dict[EditStatus, int] = Field(description="number of added edits in each status that occurs")
    holding: int | None = Field(description="edits that the model answers with the new object; null: not tested yet")


class BatchLine(BaseModel):
    """A batch without its edits: an item of a list, or a step of its progress."""

    id: str
    status: BatchState
    created: str
    updated: str
    author: str | None = Field(description="name of the API key; null: a local client")
    progress: ProgressOut | None
    version: str | None = Field(description="the version that holds the batch")
    edit_counts: EditCounts
    error: str | None = Field(description="why it was rejected or failed, and what to do")
    links: BatchLinks


class BatchOut(BatchLine):
    """A batch with all its edits; every route that answers with one batch answers with this."""

    edit_counts: EditCountsByStatus
    edits: list[BatchEditOut] = Field(description="the edits that the batch adds, in the order in which they were sent")
    removed: list[RemovedEditOut] = Field(description="the edits that the batch removes from the set")
    warnings: list[WarningOut] = Field(
        default=[],
        description="inputs that are allowed but perhaps not intended; only the answer that accepts the batch has them",
    )
    report: dict[str, Any] | None = Field(description="results of the checks; null: not tested yet")


class VersionOut(BaseModel):
    """A version of the weights: the original model with a set of live edits."""

    id: str = Field(examples=["v12"])
    parent: str | None
    status: Literal["live", "retired", "candidate", "discarded"]
    expires: str | None = Field(description="when a candidate that is not promoted is discarded")
    removed: bool = Field(description="its files are removed: it can no longer generate or be promoted")
    pinned: bool = Field(description="exempt from retention")
    created: str
    edits: int = Field(description="number of live edits")
    digest: str = Field(description="digest of the bytes of the edited matrices as they are served")
    checks: dict[str, Any]
    delta_norms: dict[str, float]
    model: dict[str, Any]
    batches: list[str]


class PromotionOut(VersionOut):
    """The version that is live now, and the changes of the promotion."""

    revision: int = Field(description="number of the promotion")
    previous: str = Field(description="the version that was live before")
    rolled_back: list[str] = Field(description="edits that are no longer in force")
    restored: list[str] = Field(description="edits that are in force again")
    behind: list[str] = Field(
        default=[], description="ready replicas that still answered with an older version when the wait ended"
    )


class DiffEdit(BaseModel):
    """An edit that is in force in one of the two versions."""

    id: str
    subject: str
    prompt: str
    relation: str
    target_new: str


class SupersededOut(BaseModel):
    """Two edits with the same subject and relation."""

    old: DiffEdit
    new: DiffEdit


class DiffAnswer(BaseModel):
    """The continuations of a prompt by both versions."""

    prompt: str
    a: str
    b: str


class DiffOut(BaseModel):
    """The difference of two versions: edits in force in the second and not in the first, and the reverse."""

    a: str
    b: str
    same_weights: bool = Field(description="whether their digests are equal")
    added: list[DiffEdit]
    superseded: list[SupersededOut]
    reverted: list[DiffEdit] = Field(
        description="in force in a, while b has no edit with the same subject and relation"
    )
    answers: list[DiffAnswer] = Field(default=[], description="continuations of the prompts of the request")


class ProblemOut(BaseModel):
    """A refusal: a problem document of RFC 9457 (application/problem+json)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        examples=["/problems/invalid-edit"], description="kind of the problem; GET this path for an explanation"
    )
    title: str
    status: int
    detail: str = Field(description="what is wrong, and where")
    next_step: str = Field(description="what you can do about it")
    instance: str | None = None
    errors: list[WarningOut] | None = None
