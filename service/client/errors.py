"""What can go wrong for a client of Errata.

ErrataClientError
├── ServiceUnreachable   no answer came: nothing listens there, or the connection broke
├── ErrataApiError       the service answered with a problem (RFC 9457)
├── UnexpectedAnswer     something answered that is not Errata, or another Errata
├── InvalidRequest       what was asked cannot be sent
└── WaitTimedOut         the wanted state was not reached in time; nothing is lost, ask again
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx


class ErrataClientError(Exception):
    """Root of all errors that the client raises on purpose."""


class ServiceUnreachable(ErrataClientError):
    """No answer came; whether the request was carried out is unknown unless it was only a question."""


class UnexpectedAnswer(ErrataClientError):
    """An answer came that Errata does not give: another server listens there."""


class InvalidRequest(ErrataClientError):
    """What was asked cannot be sent: an address that is none, text that is not Unicode, a number that is none."""


class WaitTimedOut(ErrataClientError):
    """The wanted state was not reached in time; the work goes on in the service."""


class ErrataApiError(ErrataClientError):
    """The service refused, with the problem that it told."""

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
        """A URI of its own for each kind of problem."""
        self.title = title
        self.detail = detail
        self.next_step = next_step
        """What to do about it."""
        self.errors = tuple(errors)
        """For invalid input: ``{"loc": [...], "msg": "..."}``, one for each place."""
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        """One line: status, what was wrong, each place, and what to do."""
        places = [f"{_place(item.get('loc', ()))}: {item.get('msg', '')}" for item in self.errors]
        words = [self.detail or self.title, *(place for place in places if place not in self.detail), self.next_step]
        return f"{'; '.join(word.rstrip('.') for word in words if word)} [{self.status}]"

    @classmethod
    def of(cls, response: httpx.Response) -> ErrataApiError:
        """Read the problem out of an answer; an answer that is none (a proxy's) is told by its text."""
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
    """Seconds that the answer asks to wait, if it does."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _place(loc: Sequence[object]) -> str:
    return ".".join(str(part) for part in loc)
