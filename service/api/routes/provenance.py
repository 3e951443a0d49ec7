"""The provenance of an edit and a version: the model and the settings of the solve, to which the store is bound."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, JsonValue

from editing_core.versions.identity import open_identity
from service.api.schemas.from_ledger import edit_detail, edit_out
from service.api.schemas.responses import EditDetail, EditOut
from service.api.state import ApiState
from worker.protocol.entities import EditRecord


class MadeWith(BaseModel):
    """The model and the settings behind a version's weights; one store has one of each."""

    model: str = Field(description="fingerprint of the original model")
    model_source: str = Field(description="name or path from which it was loaded")
    settings: str = Field(description="fingerprint of the settings of the solve; GET /versions/{v} has their values")


class SettingsOut(BaseModel):
    """The settings that, with the model, the set of edits and their z, determine the weights of a version."""

    fingerprint: str
    values: dict[str, JsonValue]


class Purged(BaseModel):
    """The edit's text was erased."""

    at: str = Field(description="when the erasure was requested")
    author: str | None
    hash: str = Field(description="sha256 of subject, prompt and new object")


class TracedEdit(EditOut):
    """An edit with its provenance."""

    made_with: MadeWith | None = Field(description="null: no version holds it")
    purged: Purged | None = Field(description="null: the text was not erased")


class TracedEditDetail(TracedEdit, EditDetail):
    """An edit with its provenance and the report of its checks."""


def traced(state: ApiState, records: list[EditRecord]) -> list[TracedEdit]:
    """Return the edits of a list with their provenance."""
    made_with = _made_with(state)
    return [TracedEdit.model_validate(_fields(edit_out(record), record, made_with)) for record in records]


def traced_detail(state: ApiState, record: EditRecord) -> TracedEditDetail:
    """Return one edit with its provenance and its report."""
    return TracedEditDetail.model_validate(_fields(edit_detail(record), record, _made_with(state)))


def model_of(state: ApiState) -> dict[str, Any]:
    """Return the model of the store; empty until a process has loaded it."""
    model = open_identity(state.settings.data).model
    return model.model_dump() if model else {}


def settings_of(state: ApiState) -> SettingsOut | None:
    """Return the settings of the store; None until a worker has run."""
    settings = open_identity(state.settings.data).settings
    return None if settings is None else SettingsOut(fingerprint=settings.fingerprint, values=settings.values)


def _made_with(state: ApiState) -> MadeWith | None:
    identity = open_identity(state.settings.data)
    if identity.model is None or identity.settings is None:
        return None
    return MadeWith(
        model=identity.model.fingerprint, model_source=identity.model.source, settings=identity.settings.fingerprint
    )


def _fields(shown: EditOut, record: EditRecord, made_with: MadeWith | None) -> dict[str, Any]:
    return {
        **shown.model_dump(),
        "made_with": made_with if record.version is not None else None,
        "purged": record.purged,
    }
