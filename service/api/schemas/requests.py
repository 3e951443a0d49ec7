"""The bodies that clients send. Unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from editing_core.edits import Edit, Neighbor
from editing_core.formats.own import LONG, LONGEST_ID, MOST_ITEMS, SHORT

Short = Annotated[str, Field(max_length=SHORT)]
Long = Annotated[str, Field(max_length=LONG)]

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
    target: Short | None = Field(None, description="its true object; default: the model's answer before the edit")


class EditIn(Request):
    """One fact: the model should continue the prompt, with the subject in its slot, with the new object."""

    subject: Short = Field(description="what the fact is about, as it appears in the text")
    prompt: Long = Field(description="a template with exactly one {} where the subject goes")
    target_new: Short = Field(description="the new object")
    target_true: Short | None = Field(
        None, description="the object that the model gives now; for the report and the checks"
    )
    relation: Short | None = Field(None, description="the relation between subject and object; default: the prompt")
    paraphrases: list[Long] = Field(
        default=[], max_length=MOST_ITEMS, description="other wordings, with one {} or none"
    )
    neighborhood: list[NeighborIn] = Field(default=[], max_length=MOST_ITEMS)
    protect: bool = Field(
        False,
        description="protect the neighbourhood's answers in the solve instead of only testing them; weakens the edit",
    )
    source: Long | None = Field(None, description="source of the fact; stored with the edit")
    note: Long | None = Field(None, description="free text; stored with the edit")

    def to_edit(self) -> Edit:
        """The edit as a type of the core; not yet validated."""
        return Edit(
            subject=self.subject,
            prompt=self.prompt,
            target_new=self.target_new,
            target_true=self.target_true,
            relation=self.prompt if self.relation is None else self.relation,
            paraphrases=tuple(self.paraphrases),
            neighborhood=tuple(Neighbor(prompt=n.prompt, target=n.target) for n in self.neighborhood),
            protect=self.protect,
            source=self.source,
            note=self.note,
        )


class Submission(Request):
    """A batch of edits and removals: all of it goes live together, or nothing does."""

    model_config = ConfigDict(json_schema_extra={"example": {"edits": [EXAMPLE_EDIT], "promote": "auto"}})

    edits: list[EditIn] = Field(default=[], description="may be left out if `remove` is given")
    remove: list[Annotated[str, Field(max_length=LONGEST_ID)]] = Field(
        default=[], description="ids of edits to remove, as if they had never been made"
    )
    promote: Literal["auto", "manual"] = Field(
        "auto", description="auto: goes live when the checks pass; manual: stays a candidate until it is promoted"
    )
    on_failure: Literal["reject", "drop"] = Field(
        "reject",
        description="when the checks fail: reject: the batch ends, and its report names the edits to blame; "
        "drop: those edits are left out and named, and the batch continues without them",
    )
    dry_run: bool = Field(False, description="report what would happen, with all checks; nothing goes live")
