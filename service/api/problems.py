"""What HTTP itself can refuse, in the same error tree as everything else.

ErrataError
└── RequestProblem
    ├── InvalidInput        a body, query or header that does not fit        422
    ├── MalformedJson       a body that is not JSON                          422
    ├── WrongMediaType      a body that is not declared as JSON              415
    ├── BodyTooLarge        more bytes than are taken                        413
    ├── TooManyEdits        more edits than are taken in one batch           413
    ├── KeyRequired         no key, or one that is not known                 401
    ├── ScopeMissing        a key that may not do this                       403
    ├── ForeignOrigin       a request that a web page of others caused       403
    ├── UnknownRoute        a path that is not served                        404
    ├── MethodNotAllowed    a path that does not take this method            405
    ├── RequestRefused      any other refusal of the framework               its own
    ├── ServiceStopping     the process is going down                        503
    └── InternalError       a fault of Errata itself                         500

Knows no route and no response; those are in ``service.api.errors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from editing_core.errors import ErrataError


class FieldError(TypedDict):
    """One thing that is wrong with the input, and where."""

    loc: list[str | int]
    msg: str


class RequestProblem(ErrataError):
    """A request that HTTP itself refuses."""

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
        """Members of the problem beside those of RFC 9457."""


class InvalidInput(RequestProblem):
    """A field, query parameter or header is missing, unknown, of the wrong type or out of range."""

    status = 422
    slug = "invalid-input"
    title = "The input is not valid"


class MalformedJson(RequestProblem):
    """The body is empty, is not JSON, is nested too deep, or is not valid Unicode."""

    status = 422
    slug = "malformed-json"
    title = "The body is not JSON"


class WrongMediaType(RequestProblem):
    """Bodies are taken as JSON only, and must say so."""

    status = 415
    slug = "wrong-media-type"
    title = "The body is not declared as JSON"

    def __init__(self, declared: str) -> None:
        super().__init__(f"the body is declared as {declared or 'nothing'!r}, not as application/json")


def is_json(media_type: str) -> bool:
    """Tell whether a Content-Type says that the body is JSON."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


class BodyTooLarge(RequestProblem):
    """The body holds more bytes than this service takes; nothing of it was used."""

    status = 413
    slug = "body-too-large"
    title = "The body is too large"


class TooManyEdits(RequestProblem):
    """The batch holds more edits than this service takes at once; none was taken."""

    status = 413
    slug = "too-many-edits"
    title = "The batch holds too many edits"


class KeyRequired(RequestProblem):
    """This service takes requests with a known API key only."""

    status = 401
    slug = "key-required"
    title = "A valid API key is required"


class ScopeMissing(RequestProblem):
    """The key is known, but its scopes do not allow this."""

    status = 403
    slug = "scope-missing"
    title = "The key may not do this"


class ForeignOrigin(RequestProblem):
    """Without keys, only local programs are served, not what a web page from elsewhere makes a browser send."""

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
    title = "The path does not take this method"


class RequestRefused(RequestProblem):
    """The request was refused before it reached a route."""

    slug = "request-refused"
    title = "The request was refused"


class ServiceStopping(RequestProblem):
    """The process is going down and ends what it held open."""

    status = 503
    slug = "service-stopping"
    title = "The service is stopping"


class InternalError(RequestProblem):
    """A fault of Errata itself; the log holds it under the request's id."""

    status = 500
    slug = "internal-error"
    title = "Something went wrong inside Errata"
