"""The errors of the clients.

ErrataClientError
├── ServiceUnreachable   no answer came: nothing listens there, or the connection broke
├── ErrataApiError       the service answered with a problem (RFC 9457)
├── UnexpectedAnswer     another server answered, or a version of Errata that this client does not know
├── InvalidRequest       the arguments cannot be sent
└── WaitTimedOut         the batch or export did not end in time; it continues, so you can wait again
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx


class ErrataClientError(Exception):
    """Root of all errors that the client raises on purpose."""


class ServiceUnreachable(ErrataClientError):
    """No answer came; the service may or may not have carried out the request."""


class UnexpectedAnswer(ErrataClientError):
    """The answer is not one of Errata's: another server listens there, or the stream broke off."""


class InvalidRequest(ErrataClientError):
    """The arguments cannot be sent: an unusable address, invalid Unicode, or a number that JSON lacks."""


class WaitTimedOut(ErrataClientError):
    """The batch or export did not end in time; it continues in the service."""


class ErrataApiError(ErrataClientError):
    """The service refused with a problem document (RFC 9457)."""

    def __init__(
        self,
        *,
        status: int,
        type: str,
        title: str,
        detail: str,
        next_step: str = "",
        errors: Sequence[dict[str, Any]] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.type = type
        """URI reference that names the kind of problem, such as ``/problems/invalid-edit``."""
        self.title = title
        self.detail = detail
        self.next_step = next_step
        """What you can do about it."""
        self.errors = tuple(errors)
        """For invalid input: one ``{"loc": [...], "msg": "..."}`` for each place."""
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        """One line: the problem, each place, what to do, and the status."""
        places = [f"{_place(item.get('loc', ()))}: {item.get('msg', '')}" for item in self.errors]
        words = [self.detail or self.title, *(place for place in places if place not in self.detail), self.next_step]
        return f"{'; '.join(word.rstrip('.') for word in words if word)} [{self.status}]"

    @classmethod
    def of(cls, response: httpx.Response) -> ErrataApiError:
        """The error that a response reports; the text of a response that is not JSON (a proxy's) becomes the detail."""
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            body = {"detail": response.text[:300]}
        return cls(
            status=response.status_code,
            type=str(body.get("type", "about:blank")),
            title=str(body.get("title", response.reason_phrase)),
            detail=str(body.get("detail") or ""),
            next_step=str(body.get("next_step") or ""),
            errors=[item for item in body.get("errors") or () if isinstance(item, dict)],
            retry_after_seconds=retry_after_of(response),
        )


def retry_after_of(response: httpx.Response) -> float | None:
    """Seconds that the response asks to wait; None if it does not."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _place(loc: Sequence[object]) -> str:
    return ".".join(str(part) for part in loc)
