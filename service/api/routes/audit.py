"""``/audit``: the log of all actions, and whether it is complete and unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from editing_core.versions.layout import StoreLayout
from service.api.access.security import Admin
from service.api.openapi import refusals
from service.api.problems.kinds import InvalidInput
from service.api.schemas.responses import Page
from service.api.state import ApiState, State
from worker.protocol.audit.chain import AuditEntry, Verdict, verify_chain

router = APIRouter(tags=["audit"])


class AuditFilter(BaseModel):
    """Filter and page of a list of entries."""

    model_config = ConfigDict(extra="forbid")

    edit: str | None = Field(None, max_length=200, description="entries that name the edit or its batch")
    batch: str | None = Field(None, max_length=200)
    version: str | None = Field(None, max_length=200)
    cursor: str | None = Field(None, max_length=500)
    limit: int = Field(50, ge=1, le=500)


class AuditEntryOut(BaseModel):
    """One action; it names ids, never the text of an edit."""

    number: int = Field(description="grows by one with each entry, without gaps")
    at: str
    what: str = Field(examples=["batch.accepted"])
    who: str | None = Field(description="name of the API key, commit, worker; null: a local client")
    details: dict[str, Any] = Field(description="ids and numbers")
    before: str = Field(description="hash of the entry before")
    hash: str = Field(description="hash of the entry's line up to this field")


class ChainOut(BaseModel):
    """Whether one copy of the chain is complete and unchanged."""

    entries: int = Field(description="entries up to the first fault")
    last_hash: str
    fault: str | None = Field(description="null: every entry has the hash of the one before")


class VerificationOut(BaseModel):
    """Whether the audit is complete and unchanged in the ledger and in its copy on disk, and whether the two agree."""

    whole: bool
    ledger: ChainOut
    file: ChainOut | None = Field(description="the copy in the data folder; null: this data folder has no copy")
    difference: str | None = Field(description="null: the copy agrees with the ledger, as far as the copy goes")


@router.get("/audit", responses=refusals(503))
def list_audit(state: State, principal: Admin, wanted: Annotated[AuditFilter, Query()]) -> Page[AuditEntryOut]:
    """List actions, newest first; those of one edit, one batch or one version if you name it."""
    if sum(value is not None for value in (wanted.edit, wanted.batch, wanted.version)) > 1:
        msg = "give only one of edit, batch and version"
        raise InvalidInput(f"query: {msg}", errors=[{"loc": ["query"], "msg": msg}])
    page = state.ledger.audit.page(
        edit=wanted.edit, batch=wanted.batch, version=wanted.version, cursor=wanted.cursor, limit=wanted.limit
    )
    return Page(items=[_entry_out(entry) for entry in page.items], next=page.next)


@router.get("/audit/verification", responses=refusals(503))
def verify_audit(state: State, principal: Admin) -> VerificationOut:
    """Read the whole audit, in the ledger and on disk, and report whether an entry is missing or was changed."""
    length = state.ledger.audit.length()
    ledger = verify_chain(state.ledger.audit.lines(until=length))
    path = StoreLayout(state.settings.data).audit_file
    file = verify_chain(_lines(state)) if path.exists() else None
    difference = _difference(state, length) if file is not None else None
    whole = ledger.fault is None and (file is None or file.fault is None) and difference is None
    shown = None if file is None else _chain_out(file)
    return VerificationOut(whole=whole, ledger=_chain_out(ledger), file=shown, difference=difference)


def _difference(state: ApiState, length: int) -> str | None:
    lines = state.ledger.audit.lines(until=length)
    for number, line in enumerate(_lines(state), start=1):
        held = next(lines, None)
        if held is None and number > state.ledger.audit.length():
            return f"the copy holds entry {number}, which the ledger lacks"
        if held is not None and held != line:
            return f"entry {number} of the copy differs from that of the ledger"
    return None


def _lines(state: ApiState) -> Iterator[str]:
    """Yield the complete lines of the copy. An incomplete last line is left out."""
    with StoreLayout(state.settings.data).audit_file.open(encoding="utf-8") as file:
        yield from (line[:-1] for line in file if line.endswith("\n"))


def _entry_out(entry: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut(
        number=entry.number,
        at=entry.at,
        what=entry.what,
        who=entry.who,
        details=entry.fields,
        before=entry.before,
        hash=entry.hash,
    )


def _chain_out(verdict: Verdict) -> ChainOut:
    return ChainOut(entries=verdict.num_entries, last_hash=verdict.last_hash, fault=verdict.fault)
