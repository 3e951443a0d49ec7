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

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from service.client.errors import ErrataApiError, ServiceUnreachable, UnexpectedAnswer, WaitTimedOut
from service.client.records import (
    Batch,
    Difference,
    EditInput,
    EditRecord,
    Generation,
    ListPage,
    Promotion,
    Readiness,
    Record,
    Score,
    Version,
)
from service.client.transport import Transport

_UNAVAILABLE = 503
_LONGEST_OUTAGE_SECONDS = 60.0
RecordT = TypeVar("RecordT", bound=Record)


class ErrataClient:
    """One service, spoken to by one key."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        self._transport = Transport(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self.base_url = self._transport.base_url

    def __enter__(self) -> ErrataClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

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
        started = answered = time.monotonic()
        while True:
            try:
                batch = self.batch(batch_id)
            except (ServiceUnreachable, ErrataApiError) as error:
                outage_seconds = time.monotonic() - answered
                if getattr(error, "status", _UNAVAILABLE) != _UNAVAILABLE or outage_seconds > _LONGEST_OUTAGE_SECONDS:
                    raise
            else:
                answered = time.monotonic()
                if on_progress is not None:
                    on_progress(batch)
                if batch.is_final:
                    return batch
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise WaitTimedOut(f"batch {batch_id} has no final state after {timeout_seconds:g} s; it goes on")
            time.sleep(poll_seconds)

    def edits(
        self, *, subject: str | None = None, batch: str | None = None, status: str | None = None
    ) -> Iterator[EditRecord]:
        """Accepted edits, page by page as they are consumed."""
        pages = self._pages("/edits", subject=subject, batch=batch, status=status)
        return (_read(EditRecord, item) for item in pages)

    def edit(self, edit_id: str) -> EditRecord:
        """One edit with its report."""
        return _read(EditRecord, self._get(f"/edits/{_part(edit_id)}"))

    def versions(self) -> Iterator[Version]:
        """All versions that are known."""
        return (_read(Version, item) for item in self._pages("/versions"))

    def version(self, version: str) -> Version:
        """One version."""
        return _read(Version, self._get(f"/versions/{_part(version)}"))

    def promote(self, version: str) -> Promotion:
        """Make a version live; of an older one this is the rollback."""
        response = self._transport.request("POST", f"/versions/{_part(version)}/promote", idempotent=True)
        return _read(Promotion, _json(response))

    def discard(self, version: str) -> Version:
        """Give up a candidate."""
        response = self._transport.request("DELETE", f"/versions/{_part(version)}", idempotent=False)
        return _read(Version, _json(response))

    def difference(self, a: str, b: str) -> Difference:
        """What is in force in version ``b`` and not in ``a``, and the other way round."""
        return _read(Difference, self._get(f"/versions/{_part(a)}/diff/{_part(b)}"))

    def generate(self, prompt: str, **options: Any) -> Generation:
        """What the model writes after a prompt; ``options`` as in API.md (``max_new_tokens``, ``version``, …)."""
        response = self._transport.request(
            "POST", "/generate", idempotent=True, json={"prompt": prompt, **_given(options)}
        )
        return _read(Generation, _json(response))

    def score(self, prompt: str, target: str, *, version: str | None = None) -> Score:
        """How likely the model finds ``target`` after ``prompt``."""
        body = {"prompt": prompt, "target": target, **_given({"version": version})}
        return _read(Score, _json(self._transport.request("POST", "/score", idempotent=True, json=body)))

    def readiness(self) -> Readiness:
        """Whether the service can do its work now; an answer of 503 is a record, not an error."""
        try:
            response = self._transport.request("GET", "/readyz", idempotent=False)
        except ErrataApiError as error:
            if error.status != _UNAVAILABLE:
                raise
            return Readiness(ready=False, status=error.detail or error.title)
        return Readiness(ready=True, **{k: v for k, v in _object(response).items() if k != "ready"})

    def _get(self, path: str, **params: Any) -> Any:
        return _json(self._transport.request("GET", path, idempotent=True, params=params))

    def _pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = _read(ListPage, self._get(path, cursor=cursor, limit=500, **params))
            yield from page.items
            cursor = page.next
            if cursor is None:
                return


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        kind = response.headers.get("Content-Type", "no type")
        raise UnexpectedAnswer(f"{response.url} answered with {kind}, not with JSON: that is not Errata") from None


def _read(kind: type[RecordT], body: Any) -> RecordT:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        place, words = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"]
        raise UnexpectedAnswer(
            f"the answer is no {kind.__name__.lower()} ({place}: {words}): that is not Errata, or another one"
        ) from None


def _object(response: httpx.Response) -> dict[str, Any]:
    body = _json(response)
    return body if isinstance(body, dict) else {}


def _part(text: str) -> str:
    return quote(text, safe="")
