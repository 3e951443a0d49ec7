"""Each route of the API as a call: the request, and the type of its answer. Both clients send these calls."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from service.client.call import Call, Listing, as_schema, json_of, parse, segment, without_none
from service.client.errors import ErrataApiError
from service.client.schemas import (
    AuditEntry,
    Batch,
    Difference,
    EditInput,
    EditRecord,
    Export,
    Generation,
    Guard,
    GuardInput,
    Promotion,
    PurgeState,
    Readiness,
    ResidentDigests,
    Retention,
    Score,
    Verification,
    Version,
)

UNAVAILABLE = 503


def submit_edits(
    edits: Sequence[EditInput],
    *,
    idempotency_key: str | None,
    wait_seconds: float | None,
    options: Mapping[str, Any],
) -> Call[Batch]:
    """``POST /edits``. A key is made if there is none, so that a retry never makes a second batch."""
    return Call(
        method="POST",
        path="/edits",
        read=as_schema(Batch),
        params={"wait": wait_seconds},
        json={"edits": [dict(edit) for edit in edits], **options},
        headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
        extra_seconds=wait_seconds or 0.0,
    )


def batch(batch_id: str, *, with_edits: bool = True) -> Call[Batch]:
    """``GET /batches/{batch}``; without its edits it is small enough to poll."""
    params = {} if with_edits else {"edits": "false"}
    return Call(method="GET", path=f"/batches/{segment(batch_id)}", params=params, read=as_schema(Batch))


def batches() -> Listing[Batch]:
    """``GET /batches``."""
    return Listing("/batches", Batch)


def cancel_batch(batch_id: str) -> Call[Batch]:
    """``DELETE /batches/{batch}``."""
    return Call(method="DELETE", path=f"/batches/{segment(batch_id)}", read=as_schema(Batch), repeatable=False)


def edits(*, subject: str | None, batch: str | None, status: str | None) -> Listing[EditRecord]:
    """``GET /edits``."""
    return Listing("/edits", EditRecord, {"subject": subject, "batch": batch, "status": status})


def edit(edit_id: str) -> Call[EditRecord]:
    """``GET /edits/{edit}``."""
    return Call(method="GET", path=f"/edits/{segment(edit_id)}", read=as_schema(EditRecord))


def purge(edit_id: str, *, reason: str | None) -> Call[PurgeState]:
    """``POST /edits/{edit}/purge``."""
    path = f"/edits/{segment(edit_id)}/purge"
    return Call(method="POST", path=path, params={"reason": reason}, read=as_schema(PurgeState))


def guards() -> Listing[Guard]:
    """``GET /guards``."""
    return Listing("/guards", Guard)


def add_guards(guards: Sequence[GuardInput]) -> Call[list[Guard]]:
    """``POST /guards``."""

    def read(response: httpx.Response) -> list[Guard]:
        return [parse(Guard, item) for item in _object(response).get("guards", [])]

    return Call(method="POST", path="/guards", json={"guards": [dict(guard) for guard in guards]}, read=read)


def remove_guard(guard_id: str) -> Call[Guard]:
    """``DELETE /guards/{guard}``."""
    return Call(method="DELETE", path=f"/guards/{segment(guard_id)}", read=as_schema(Guard), repeatable=False)


def versions() -> Listing[Version]:
    """``GET /versions``."""
    return Listing("/versions", Version)


def version(version_id: str) -> Call[Version]:
    """``GET /versions/{version}``."""
    return Call(method="GET", path=f"/versions/{segment(version_id)}", read=as_schema(Version))


def promote(version_id: str) -> Call[Promotion]:
    """``POST /versions/{version}/promote``."""
    return Call(method="POST", path=f"/versions/{segment(version_id)}/promote", read=as_schema(Promotion))


def discard(version_id: str) -> Call[Version]:
    """``DELETE /versions/{version}``."""
    return Call(method="DELETE", path=f"/versions/{segment(version_id)}", read=as_schema(Version), repeatable=False)


def pin(version_id: str) -> Call[Version]:
    """``PUT /versions/{version}/pin``."""
    return Call(method="PUT", path=f"/versions/{segment(version_id)}/pin", read=as_schema(Version))


def unpin(version_id: str) -> Call[Version]:
    """``DELETE /versions/{version}/pin``."""
    return Call(method="DELETE", path=f"/versions/{segment(version_id)}/pin", read=as_schema(Version))


def difference(a: str, b: str, *, prompts: Sequence[str]) -> Call[Difference]:
    """``GET /versions/{a}/diff/{b}``."""
    path = f"/versions/{segment(a)}/diff/{segment(b)}"
    return Call(method="GET", path=path, params={"prompt": list(prompts)}, read=as_schema(Difference))


def resident_digests() -> Call[ResidentDigests]:
    """``GET /resident``."""
    return Call(method="GET", path="/resident", read=as_schema(ResidentDigests))


def start_export(version_id: str, form: str, *, options: Mapping[str, Any]) -> Call[Export]:
    """``POST /versions/{version}/export``."""
    path = f"/versions/{segment(version_id)}/export"
    return Call(method="POST", path=path, json={"format": form, **without_none(options)}, read=as_schema(Export))


def export(export_id: str) -> Call[Export]:
    """``GET /exports/{export}``."""
    return Call(method="GET", path=f"/exports/{segment(export_id)}", read=as_schema(Export))


def exports() -> Listing[Export]:
    """``GET /exports``."""
    return Listing("/exports", Export)


def audit(*, edit: str | None, batch: str | None, version: str | None) -> Listing[AuditEntry]:
    """``GET /audit``."""
    return Listing("/audit", AuditEntry, {"edit": edit, "batch": batch, "version": version})


def verify_audit() -> Call[Verification]:
    """``GET /audit/verification``."""
    return Call(method="GET", path="/audit/verification", read=as_schema(Verification))


def retention() -> Call[Retention]:
    """``GET /retention``."""
    return Call(method="GET", path="/retention", read=as_schema(Retention))


def generate(prompt: str, *, options: Mapping[str, Any]) -> Call[Generation]:
    """``POST /generate``."""
    body = {"prompt": prompt, **without_none(options)}
    return Call(method="POST", path="/generate", json=body, read=as_schema(Generation))


def stream(prompt: str, *, options: Mapping[str, Any]) -> Call[httpx.Response]:
    """``POST /generate`` with ``stream``: its response is read line by line."""
    body = {"prompt": prompt, "stream": True, **without_none(options)}
    return Call(method="POST", path="/generate", json=body, read=lambda response: response, repeatable=False)


def score(prompt: str, target: str, *, version: str | None) -> Call[Score]:
    """``POST /score``."""
    body = {"prompt": prompt, "target": target, **without_none({"version": version})}
    return Call(method="POST", path="/score", json=body, read=as_schema(Score))


def readiness() -> Call[Readiness]:
    """``GET /readyz``."""

    def read(response: httpx.Response) -> Readiness:
        return Readiness(ready=True, **{name: value for name, value in _object(response).items() if name != "ready"})

    return Call(method="GET", path="/readyz", read=read, repeatable=False)


def not_ready(error: ErrataApiError) -> Readiness:
    """What a refusal of ``/readyz`` says; an error other than 503 is raised."""
    if error.status != UNAVAILABLE:
        raise error
    return Readiness(ready=False, status=error.detail or error.title)


def _object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a response; empty if it is another value."""
    body = json_of(response)
    return body if isinstance(body, dict) else {}
