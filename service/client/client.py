"""The Python client of Errata's HTTP API.

    client = ErrataClient("http://127.0.0.1:8000")
    batch = client.submit_edits([{"subject": "Danielle Darrieux", "prompt": "The mother tongue of {} is",
                                  "target_new": "English"}])
    batch = client.wait_for_batch(batch.id)
    client.generate("The mother tongue of Danielle Darrieux is", min_version=batch.version).text

Knows the paths and nothing of how requests travel. All methods raise ErrataApiError when the service refuses,
ServiceUnreachable when no answer comes, and UnexpectedAnswer when it is not one of Errata's.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from service.client.base import given as _given
from service.client.base import json_of as _json
from service.client.base import object_of as _object
from service.client.base import part as _part
from service.client.base import read as _read
from service.client.errors import ErrataApiError
from service.client.keeping import Keeping
from service.client.memory import ResidentDigests
from service.client.records import (
    Batch,
    Difference,
    EditInput,
    EditRecord,
    Export,
    Generation,
    Guard,
    GuardInput,
    Promotion,
    Readiness,
    Score,
    Version,
)
from service.client.streams import GenerationPiece, pieces_of
from service.client.waiting import UNAVAILABLE, wait_for_end


class ErrataClient(Keeping):
    """One service, spoken to by one key."""

    def submit_edits(
        self,
        edits: Sequence[EditInput],
        *,
        idempotency_key: str | None = None,
        wait_seconds: float | None = None,
        **options: Any,
    ) -> Batch:
        """Queue a batch; with ``wait_seconds`` the answer is held up to so long for a final state.

        ``options`` are further fields of the body (``remove``: ids to take out, ``promote``, ``dry_run``). Without a
        key of the caller one is made, so that a repeat after a broken connection never makes a second batch.
        """
        response = self._transport.request(
            "POST",
            "/edits",
            idempotent=True,
            params={"wait": wait_seconds},
            json={"edits": [dict(edit) for edit in edits], **options},
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
            extra_seconds=wait_seconds or 0.0,
        )
        return _read(Batch, _json(response))

    def batch(self, batch_id: str) -> Batch:
        """The batch as it is now."""
        return _read(Batch, self._get(f"/batches/{_part(batch_id)}"))

    def batches(self) -> Iterator[Batch]:
        """All batches, newest first."""
        return (_read(Batch, item) for item in self._pages("/batches"))

    def cancel_batch(self, batch_id: str) -> None:
        """Take a batch back that is not applied yet."""
        self._transport.request("DELETE", f"/batches/{_part(batch_id)}", idempotent=False)

    def wait_for_batch(
        self,
        batch_id: str,
        *,
        on_progress: Callable[[Batch], None] | None = None,
        timeout_seconds: float | None = None,
        poll_seconds: float = 0.3,
    ) -> Batch:
        """Ask until the batch has a final state, through an outage of up to a minute.

        ``on_progress`` gets every answer. Raises WaitTimedOut after ``timeout_seconds``.
        """
        return wait_for_end(
            lambda: self.batch(batch_id),
            what=f"batch {batch_id}",
            on_progress=on_progress,
            timeout_seconds=timeout_seconds,
            poll_seconds=poll_seconds,
        )

    def edits(
        self, *, subject: str | None = None, batch: str | None = None, status: str | None = None
    ) -> Iterator[EditRecord]:
        """Accepted edits, page by page as they are consumed."""
        pages = self._pages("/edits", subject=subject, batch=batch, status=status)
        return (_read(EditRecord, item) for item in pages)

    def edit(self, edit_id: str) -> EditRecord:
        """One edit with its report."""
        return _read(EditRecord, self._get(f"/edits/{_part(edit_id)}"))

    def guards(self) -> Iterator[Guard]:
        """The facts that must not change."""
        return (_read(Guard, item) for item in self._pages("/guards"))

    def add_guards(self, guards: Sequence[GuardInput]) -> list[Guard]:
        """Keep facts that must not change, from the next version on; those that are kept already stay as they are."""
        body = {"guards": [dict(guard) for guard in guards]}
        response = self._transport.request("POST", "/guards", idempotent=True, json=body)
        return [_read(Guard, item) for item in _object(response).get("guards", [])]

    def remove_guard(self, guard: str) -> Guard:
        """Take a guard away."""
        return _read(Guard, _json(self._transport.request("DELETE", f"/guards/{_part(guard)}", idempotent=False)))

    def versions(self) -> Iterator[Version]:
        """All versions that are known."""
        return (_read(Version, item) for item in self._pages("/versions"))

    def version(self, version: str) -> Version:
        """One version."""
        return _read(Version, self._get(f"/versions/{_part(version)}"))

    def resident_digests(self) -> ResidentDigests:
        """The digests of the versions in the service's memory, computed from their tensors now."""
        return _read(ResidentDigests, self._get("/resident"))

    def promote(self, version: str) -> Promotion:
        """Make a version live; of an older one this is the rollback."""
        response = self._transport.request("POST", f"/versions/{_part(version)}/promote", idempotent=True)
        return _read(Promotion, _json(response))

    def discard(self, version: str) -> Version:
        """Give up a candidate."""
        response = self._transport.request("DELETE", f"/versions/{_part(version)}", idempotent=False)
        return _read(Version, _json(response))

    def difference(self, a: str, b: str, *, prompts: Sequence[str] = ()) -> Difference:
        """What is in force in version ``b`` and not in ``a``, the other way round, and what each writes."""
        return _read(Difference, self._get(f"/versions/{_part(a)}/diff/{_part(b)}", prompt=list(prompts)))

    def export(self, version: str, form: str, **options: Any) -> Export:
        """Have a version written as ``hf`` or ``peft`` (``options``: ``dtype``, ``max_rank``), or find it written."""
        path, body = f"/versions/{_part(version)}/export", {"format": form, **_given(options)}
        return _read(Export, _json(self._transport.request("POST", path, idempotent=True, json=body)))

    def exports(self) -> Iterator[Export]:
        """All exports, the one asked for last first."""
        return (_read(Export, item) for item in self._pages("/exports"))

    def wait_for_export(
        self,
        export_id: str,
        *,
        on_progress: Callable[[Export], None] | None = None,
        timeout_seconds: float | None = None,
        poll_seconds: float = 0.3,
    ) -> Export:
        """The same as ``wait_for_batch`` for an export."""
        return wait_for_end(
            lambda: _read(Export, self._get(f"/exports/{_part(export_id)}")),
            what=f"export {export_id}",
            on_progress=on_progress,
            timeout_seconds=timeout_seconds,
            poll_seconds=poll_seconds,
        )

    def generate(self, prompt: str, **options: Any) -> Generation:
        """What the model writes after a prompt; ``options`` as in API.md (``max_new_tokens``, ``version``, …)."""
        response = self._transport.request(
            "POST", "/generate", idempotent=True, json={"prompt": prompt, **_given(options)}
        )
        return _read(Generation, _json(response))

    def stream(self, prompt: str, **options: Any) -> Iterator[GenerationPiece]:
        """The same piece by piece, as it is written; the last piece tells finish reason, version and usage."""
        body = {"prompt": prompt, "stream": True, **_given(options)}
        with self._transport.lines("POST", "/generate", json=body) as lines:
            yield from pieces_of(lines)

    def score(self, prompt: str, target: str, *, version: str | None = None) -> Score:
        """How likely the model finds ``target`` after ``prompt``."""
        body = {"prompt": prompt, "target": target, **_given({"version": version})}
        return _read(Score, _json(self._transport.request("POST", "/score", idempotent=True, json=body)))

    def readiness(self) -> Readiness:
        """Whether the service can do its work now; an answer of 503 is a record, not an error."""
        try:
            response = self._transport.request("GET", "/readyz", idempotent=False)
        except ErrataApiError as error:
            if error.status != UNAVAILABLE:
                raise
            return Readiness(ready=False, status=error.detail or error.title)
        return Readiness(ready=True, **{k: v for k, v in _object(response).items() if k != "ready"})
