"""How a refusal is written: a problem document (RFC 9457), or under ``/v1`` as OpenAI's clients expect it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

OPENAI_PATH = "/v1/"
_OPENAI_TYPES = {
    int(HTTPStatus.UNAUTHORIZED): "authentication_error",
    int(HTTPStatus.FORBIDDEN): "permission_error",
    int(HTTPStatus.NOT_FOUND): "not_found_error",
    int(HTTPStatus.TOO_MANY_REQUESTS): "rate_limit_error",
}


class ProblemResponse(JSONResponse):
    """An answer of type ``application/problem+json``."""

    media_type = "application/problem+json"


class OpenAIError(ProblemResponse):
    """An answer with OpenAI's ``error`` object."""

    media_type = "application/json"


def rendered(problem: dict[str, Any], *, instance: str | None, headers: Mapping[str, str]) -> ProblemResponse:
    """The problem as an answer to a request of ``instance``, the path."""
    status = int(problem["status"])
    if instance is not None and instance.startswith(OPENAI_PATH):
        return OpenAIError({"error": openai_error(problem)}, status_code=status, headers=dict(headers))
    return ProblemResponse(problem, status_code=status, headers=dict(headers))


def openai_error(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The members of OpenAI's ``error`` object."""
    status = int(problem["status"])
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)
    place = next((item["loc"] for item in problem.get("errors", ())), ())
    return {
        "message": f"{problem['detail']}. {problem['next_step']}",
        "type": kind or "invalid_request_error",
        "param": ".".join(str(part) for part in place if part != "body") or None,
        "code": str(problem["type"]).rsplit("/", 1)[-1].replace("-", "_"),
    }
