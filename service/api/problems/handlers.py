"""The exception handlers of the application: every error that a route raises becomes a problem document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from editing_core.errors import ErrataError
from service.api.problems.kinds import WrongMediaType, is_json
from service.api.problems.rendering import ProblemResponse, problem_response
from service.api.problems.statuses import INTERNAL, status_of
from service.api.problems.validation import from_http_exception, invalid_input

Reconsider = Callable[[ErrataError], Awaitable[ErrataError]]
"""Returns the error to answer with instead of the one that a route raised; often the same one."""


def install_error_handlers(app: FastAPI, *, reconsider: Reconsider) -> None:
    """Answer every refusal of this application with a problem document."""

    async def errata_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, ErrataError)
        if status_of(type(error)) == INTERNAL:
            raise error
        return problem_response(await reconsider(error), instance=request.url.path)

    async def validation_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, RequestValidationError)
        declared = request.headers.get("content-type", "")
        unread = any(item["loc"] == ("body",) and item["type"] != "missing" for item in error.errors())
        refused = WrongMediaType(declared) if unread and not is_json(declared) else None
        return problem_response(refused or invalid_input(error.errors()), instance=request.url.path)

    async def framework_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, HTTPException)
        return problem_response(from_http_exception(error, request), instance=request.url.path)

    app.add_exception_handler(ErrataError, errata_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, framework_error)
