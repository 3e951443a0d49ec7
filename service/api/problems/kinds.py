"""The refusals of the HTTP layer, in the same error tree as all others.

ErrataError
└── RequestProblem
    ├── InvalidInput        a body, query or header that is not valid        422
    ├── MalformedJson       a body that is not JSON                          422
    ├── WrongMediaType      a body that is not declared as JSON              415
    ├── BodyTooLarge        more bytes than the service accepts              413
    ├── TooManyEdits        more edits than one batch may hold               413
    ├── KeyRequired         no key, or an unknown one                        401
    ├── ScopeMissing        a key without the scope                          403
    ├── ForeignOrigin       a request that a foreign web page caused         403
    ├── UnknownRoute        a path that is not served                        404
    ├── MethodNotAllowed    a path that does not support this method         405
    ├── RequestRefused      any other refusal of the framework               its own
    ├── ServiceStopping     the process is shutting down                     503
    └── InternalError       a bug in Errata                                  500

This module does not depend on routes or responses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

from editing_core.errors import ErrataError


class FieldError(TypedDict):
    """One fault of the input, and its place."""

    loc: list[str | int]
    msg: str


class RequestProblem(ErrataError):
    """A request that the HTTP layer refuses."""

    status: int = 400
    slug = "bad-request"
    title = "The request cannot be used"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        """Further members of the problem document."""


class InvalidInput(RequestProblem):
    """A field, query parameter or header is missing, unknown, of the wrong type or out of range."""

    status = 422
    slug = "invalid-input"
    title = "The input is not valid"


class MalformedJson(RequestProblem):
    """The body is empty, is not JSON, is nested too deeply, or is not valid Unicode."""

    status = 422
    slug = "malformed-json"
    title = "The body is not JSON"


class WrongMediaType(RequestProblem):
    """The service accepts JSON only, and the Content-Type must say so."""

    status = 415
    slug = "wrong-media-type"
    title = "The body is not declared as JSON"

    def __init__(self, declared: str) -> None:
        super().__init__(f"the body is declared as {declared or 'nothing'!r}, not as application/json")


def is_json(media_type: str) -> bool:
    """Whether a Content-Type says that the body is JSON."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


class BodyTooLarge(RequestProblem):
    """The body holds more bytes than this service accepts; nothing was changed."""

    status = 413
    slug = "body-too-large"
    title = "The body is too large"


class TooManyEdits(RequestProblem):
    """The batch holds more edits than this service accepts at once; none was accepted."""

    status = 413
    slug = "too-many-edits"
    title = "The batch holds too many edits"


class KeyRequired(RequestProblem):
    """This service answers requests with a known API key only."""

    status = 401
    slug = "key-required"
    title = "A valid API key is required"


class ScopeMissing(RequestProblem):
    """The key is known, but its scopes do not allow this."""

    status = 403
    slug = "scope-missing"
    title = "The key may not do this"


class ForeignOrigin(RequestProblem):
    """Without keys the service answers local programs only, not requests that a web page makes a browser send."""

    status = 403
    slug = "foreign-origin"
    title = "The request comes from elsewhere"


class UnknownRoute(RequestProblem):
    """Nothing is served under this path."""

    status = 404
    slug = "unknown-route"
    title = "Nothing is served here"


class MethodNotAllowed(RequestProblem):
    """The path exists, but not with this method."""

    status = 405
    slug = "method-not-allowed"
    title = "The path does not support this method"


class RequestRefused(RequestProblem):
    """The request was refused before it reached a route."""

    slug = "request-refused"
    title = "The request was refused"


class ServiceStopping(RequestProblem):
    """The process is shutting down and ends open requests."""

    status = 503
    slug = "service-stopping"
    title = "The service is stopping"
    retry_after_seconds: ClassVar[int] = 2


class InternalError(RequestProblem):
    """A bug in Errata; the log has it under the id of the request."""

    status = 500
    slug = "internal-error"
    title = "Something went wrong inside Errata"
