"""What clients send. What does not work yet is not in these types, so that it is refused until it does."""

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
    paraphrases: list[Long] = Field(
        default=[], max_length=MOST_ITEMS, description="other wordings, with one {} or none"
    )
    neighborhood: list[NeighborIn] = Field(default=[], max_length=MOST_ITEMS)
    protect: bool = Field(
        False, description="hold on to the neighbourhood's answers in the solve, and not only test them; costs the edit"
    )
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
            protect=self.protect,
            source=self.source,
            note=self.note,
        )


class Submission(Request):
    """A batch of edits, and of edits to take out: all of it goes live together, or nothing does."""

    model_config = ConfigDict(json_schema_extra={"example": {"edits": [EXAMPLE_EDIT], "promote": "auto"}})

    edits: list[EditIn] = Field(default=[], description="may be left out beside `remove`")
    remove: list[Annotated[str, Field(max_length=LONGEST_ID)]] = Field(
        default=[], description="ids of edits to take out: as if they had never been made"
    )
    promote: Literal["auto", "manual"] = Field(
        "auto", description="auto: goes live when the checks pass; manual: stays a candidate until it is promoted"
    )
    on_failure: Literal["reject", "drop"] = Field(
        "reject",
        description="when the checks fail: reject: the batch goes no further, and the edits to blame are named; "
        "drop: they are left out and named, and the rest goes on",
    )
    dry_run: bool = Field(False, description="only tell what would happen: with the full report, and nothing goes live")
