"""The bodies of requests and responses about guards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from editing_core.guards import Guard
from service.api.schemas.requests import Long, Request, Short


class GuardIn(Request):
    """A fact that must not change: the model should continue the prompt with the target."""

    prompt: Long = Field(description="with the subject written out")
    target: Short = Field(description="the continuation that must not change")
    subject: Short | None = Field(
        None,
        description="what the fact is about, as it appears in the prompt; with it, the solve protects the fact best",
    )

    def to_guard(self) -> Guard:
        """The guard as a type of the core; not yet validated."""
        return Guard(prompt=self.prompt, target=self.target, subject=self.subject)


class GuardList(Request):
    """Guards to add: all of them, or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "guards": [
                    {
                        "prompt": "The mother tongue of Michel Rocard is",
                        "target": "French",
                        "subject": "Michel Rocard",
                    }
                ]
            }
        }
    )

    guards: list[GuardIn] = Field(min_length=1)


class GuardOut(BaseModel):
    """A guard; it applies from the next version on."""

    id: str
    prompt: str
    target: str
    subject: str | None
    created: str
    author: str | None = Field(description="name of the API key; null: a local client")


class GuardsOut(BaseModel):
    """The added guards, in the order in which they were sent."""

    guards: list[GuardOut]
