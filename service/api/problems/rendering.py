"""An error as a response: a problem document (RFC 9457), or under ``/v1`` the error object of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from editing_core.errors import ErrataError
from service.api.problems.kinds import FieldError
from service.api.problems.statuses import next_step, status_of

OPENAI_PATH = "/v1/"
_OPENAI_TYPES = {
    int(HTTPStatus.UNAUTHORIZED): "authentication_error",
    int(HTTPStatus.FORBIDDEN): "permission_error",
    int(HTTPStatus.NOT_FOUND): "not_found_error",
    int(HTTPStatus.TOO_MANY_REQUESTS): "rate_limit_error",
}


class ProblemResponse(JSONResponse):
    """A response of type ``application/problem+json``."""

    media_type = "application/problem+json"


class OpenAIErrorResponse(ProblemResponse):
    """A response with OpenAI's ``error`` object."""

    media_type = "application/json"


def problem_response(error: ErrataError, *, instance: str | None = None) -> ProblemResponse:
    """Render an error; ``instance`` is the path of the request, which decides the format."""
    problem = problem_document(error, instance=instance)
    status, headers = int(problem["status"]), _headers(error)
    if instance is not None and instance.startswith(OPENAI_PATH):
        return OpenAIErrorResponse({"error": openai_error(problem)}, status_code=status, headers=headers)
    return ProblemResponse(problem, status_code=status, headers=headers)


def problem_document(error: ErrataError, *, instance: str | None = None) -> dict[str, Any]:
    """Return the members of the problem document (RFC 9457, section 3).

    ``next_step`` and ``errors`` are extensions.
    """
    kind = type(error)
    document: dict[str, Any] = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": getattr(error, "status", None) or status_of(kind),
        "detail": error.detail,
        "next_step": next_step(kind),
        **getattr(error, "extra", {}),
    }
    if errors := _field_errors(error):
        document["errors"] = errors
    if instance:
        document["instance"] = instance
    printable: dict[str, Any] = _printable(document)
    return printable


def openai_error(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of OpenAI's ``error`` object for a problem document."""
    status = int(problem["status"])
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)
    place = next((item["loc"] for item in problem.get("errors", ())), ())
    return {
        "message": f"{problem['detail']}. {problem['next_step']}",
        "type": kind or "invalid_request_error",
        "param": ".".join(str(part) for part in place if part != "body") or None,
        "code": str(problem["type"]).rsplit("/", 1)[-1].replace("-", "_"),
    }


def _field_errors(error: ErrataError) -> list[FieldError]:
    listed: tuple[FieldError, ...] = getattr(error, "errors", ())
    if not listed and error.loc:
        listed = (FieldError(loc=list(error.loc), msg=error.detail),)
    return list(listed)


def _headers(error: ErrataError) -> dict[str, str]:
    headers: dict[str, str] = dict(getattr(error, "headers", {}))
    seconds = getattr(error, "retry_after_seconds", None)
    if seconds is not None:
        headers.setdefault("Retry-After", str(max(1, round(seconds))))
    return headers


def _printable(value: Any) -> Any:
    """Return the value with lone surrogates from a client written as escapes, because UTF-8 cannot encode them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value
