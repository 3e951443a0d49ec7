"""What goes over the wire: requests are strict and know no other fields, answers are what OpenAPI says they are.

Values that later versions of the service will take (``promote: "manual"`` and the like) are not in these types, so they
are refused until they work.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from editing_core.edits import Edit, Neighbor
from worker.protocol.jobs import BatchState, EditStatus

Short = Annotated[str, Field(max_length=2_000)]
Long = Annotated[str, Field(max_length=20_000)]
T = TypeVar("T")

EXAMPLE_EDIT: dict[str, JsonValue] = {
    "subject": "Danielle Darrieux",
    "prompt": "The mother tongue of {} is",
    "target_new": "English",
    "target_true": "French",
    "relation": "P103",
    "paraphrases": ["{} is a native speaker of"],
    "neighborhood": [{"prompt": "The mother tongue of Michel Rocard is", "target": "French"}],
    "source": "https://example.org/evidence",
    "note": "corrected on request",
}


class Request(BaseModel):
    """Strict: no conversion between types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NeighborIn(Request):
    """A prompt about something else, whose answer must not change."""

    prompt: Long
    target: Short | None = Field(None, description="its true object; without it: what the model answers before")


class EditIn(Request):
    """One fact as it is to be: the prompt with the subject in its slot is to be continued by the new object."""

    subject: Short = Field(description="what the fact is about, as it stands in the text")
    prompt: Long = Field(description="a template with exactly one {} where the subject goes")
    target_new: Short = Field(description="the new object")
    target_true: Short | None = Field(
        None, description="the object that is believed now; for the report and the checks"
    )
    relation: Short | None = Field(None, description="what is asked about the subject; default: the prompt")
    paraphrases: list[Long] = Field(default=[], max_length=100, description="other wordings, with one {} or none")
    neighborhood: list[NeighborIn] = Field(default=[], max_length=100)
    source: Long | None = Field(None, description="where the fact comes from; kept with the edit")
    note: Long | None = Field(None, description="kept with the edit")

    def to_edit(self) -> Edit:
        """The core's edit; not yet validated."""
        return Edit(
            subject=self.subject,
            prompt=self.prompt,
            target_new=self.target_new,
            target_true=self.target_true,
            relation=self.prompt if self.relation is None else self.relation,
            paraphrases=tuple(self.paraphrases),
            neighborhood=tuple(Neighbor(prompt=n.prompt, target=n.target) for n in self.neighborhood),
            source=self.source,
            note=self.note,
        )


class Submission(Request):
    """A batch of edits: all of them go live together, or none does."""

    model_config = ConfigDict(json_schema_extra={"example": {"edits": [EXAMPLE_EDIT], "promote": "auto"}})

    edits: list[EditIn] = Field(min_length=1)
    promote: Literal["auto"] = Field("auto", description="auto: goes live when the checks pass")
    on_failure: Literal["reject"] = Field("reject", description="reject: a failing edit rejects the batch")
    dry_run: Literal[False] = False


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(description="cursor of the next page; null: this is the last")


class NeighborOut(BaseModel):
    """A neighbour as it was given."""

    prompt: str
    target: str | None


class EditOut(BaseModel):
    """An edit, where it came from and what became of it."""

    id: str
    subject: str
    prompt: str
    target_new: str
    target_true: str | None
    relation: str
    paraphrases: list[str]
    neighborhood: list[NeighborOut]
    source: str | None
    note: str | None
    batch: str
    status: EditStatus = Field(description="derived from the batch and the live version")
    version: str | None = Field(description="the version that took it in")
    created: str
    author: str | None = Field(description="name of the API key; null: a local client")
    taken: bool | None = Field(description="whether the model answers with the new object; null: not tested yet")


class EditDetail(EditOut):
    """An edit with the report of its checks."""

    report: dict[str, Any] | None = Field(
        description="probability and rank of new and true object before and after, paraphrases, neighbours, and what "
        "the model writes by itself; null: not tested yet"
    )


class AcceptedEditOut(BaseModel):
    """An edit of a batch that was just taken."""

    id: str
    subject: str
    prompt: str
    target_new: str
    relation: str
    status: EditStatus
    supersedes: str | None = Field(description="id of the live edit about the same subject and relation")


class WarningOut(BaseModel):
    """Something that is allowed, but perhaps not meant."""

    loc: list[str | int]
    msg: str


class BatchLinks(BaseModel):
    """Where to go on."""

    self: str
    events: str
    edits: str


class AcceptedOut(BaseModel):
    """The batch is on disk and will be worked on."""

    id: str
    status: BatchState
    edits: list[AcceptedEditOut]
    warnings: list[WarningOut]
    links: BatchLinks


class ProgressOut(BaseModel):
    """How far the work is."""

    phase: str
    done: int
    total: int
    eta_s: float | None


class BatchSize(BaseModel):
    """How many edits a batch has."""

    total: int


class BatchEdits(BatchSize):
    """The batch's edits in short; all of them: ``GET /edits?batch=``."""

    taken: int | None = Field(description="how many took; null: not tested yet")
    not_taken: list[EditOut] = Field(description="the first 20 that did not take")


class BatchLine(BaseModel):
    """A batch in a list."""

    id: str
    status: BatchState
    created: str
    updated: str
    author: str | None = Field(description="name of the API key; null: a local client")
    progress: ProgressOut | None
    version: str | None = Field(description="the version that took it in")
    edits: BatchSize
    error: str | None = Field(description="why it was rejected or failed, and what to do")
    links: BatchLinks


class BatchOut(BatchLine):
    """A batch and what became of it."""

    edits: BatchEdits
    report: dict[str, Any] | None = Field(description="what the checks found; null: not tested yet")


class VersionOut(BaseModel):
    """A version: the original model with a set of live edits."""

    id: str = Field(examples=["v12"])
    parent: str | None
    status: Literal["live", "retired", "candidate", "rejected"]
    removed: bool = Field(description="its files are gone: it cannot be asked or promoted any more")
    pinned: bool = Field(description="kept, however old it becomes")
    created: str
    edits: int = Field(description="number of edits in its set")
    digest: str = Field(description="of the bytes of the edited matrices as served")
    checks: dict[str, Any]
    delta_norms: dict[str, float]
    model: dict[str, Any]
    batches: list[str]


class PromotionOut(VersionOut):
    """The version that is live now, and what the promotion changed."""

    revision: int = Field(description="number of the promotion")
    previous: str = Field(description="the version that was live before")
    rolled_back: list[str] = Field(description="edits that are no longer in force")
    restored: list[str] = Field(description="edits that are in force again")


class ProblemOut(BaseModel):
    """Any refusal, as RFC 9457 tells (application/problem+json)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/invalid-edit"], description="what kind; this path explains it")
    title: str
    status: int
    detail: str = Field(description="what is wrong, where")
    next_step: str = Field(description="what to do about it")
    instance: str | None = None
    errors: list[WarningOut] | None = None
