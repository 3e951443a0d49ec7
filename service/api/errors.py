"""How an error is answered: one rendering (RFC 9457), one list of all problems. ``statuses`` has the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from editing_core.errors import ErrataError, NotFound
from editing_core.versions.layout import StoreLayout
from service.api import problems
from service.api.dialects import ProblemResponse, rendered
from service.api.problems import FieldError, RequestProblem, is_json
from service.api.state import ApiState
from service.api.statuses import INTERNAL, RETRY_AFTER_SECONDS, next_step, status_of
from service.ledger_calls import call_with_timeout
from service.ledger_memory import require_ledger_intact
from worker.protocol.errors import EditNotLive, LedgerDown, LedgerForgotten

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def all_problems() -> dict[str, type[ErrataError]]:
    """Every kind of error that this process can answer, by slug."""
    kinds = (
        kind for kind in _descendants(ErrataError) if status_of(kind) != INTERNAL or kind is problems.InternalError
    )
    found: dict[str, type[ErrataError]] = {}
    for kind in kinds:
        found.setdefault(kind.slug, kind)
    return found


def _descendants(kind: type[ErrataError]) -> Iterator[type[ErrataError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def problem(error: ErrataError, *, instance: str | None = None) -> ProblemResponse:
    """Render an error as RFC 9457 tells."""
    kind = type(error)
    body: dict[str, Any] = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": getattr(error, "status", None) or status_of(kind),
        "detail": error.detail,
        "next_step": next_step(kind),
        **getattr(error, "extra", {}),
    }
    if errors := _field_errors(error):
        body["errors"] = errors
    if instance:
        body["instance"] = instance
    return rendered(_printable(body), instance=instance, headers=_headers(error))


def _field_errors(error: ErrataError) -> list[FieldError]:
    listed: tuple[FieldError, ...] = getattr(error, "errors", ())
    if not listed and error.loc:
        listed = (FieldError(loc=list(error.loc), msg=error.detail),)
    return list(listed)


def _headers(error: ErrataError) -> dict[str, str]:
    headers: dict[str, str] = dict(getattr(error, "headers", {}))
    seconds = getattr(error, "retry_after_seconds", None)
    if seconds is None:
        seconds = next((RETRY_AFTER_SECONDS[kind] for kind in type(error).__mro__ if kind in RETRY_AFTER_SECONDS), None)
    if seconds is not None:
        headers.setdefault("Retry-After", str(max(1, round(seconds))))
    return headers


def _printable(value: Any) -> Any:
    """The same with what UTF-8 cannot hold (lone surrogates that came from a client) written out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value


def invalid_input(items: Any, *, prefix: tuple[str | int, ...] = ()) -> RequestProblem:
    """Turn pydantic's list of errors into InvalidInput or, where the body was no JSON at all, MalformedJson."""
    listed = [FieldError(loc=[*prefix, *filter(_is_place, item["loc"])], msg=_message(item)) for item in items]
    if any(item["type"] == "json_invalid" for item in items):
        return problems.MalformedJson(f"the body could not be read: {listed[0]['msg']}", errors=listed)
    if any(item["type"] == "missing" and tuple(item["loc"]) == ("body",) for item in items):
        return problems.MalformedJson("the body is empty: a JSON object is needed", errors=listed)
    place = ".".join(str(part) for part in listed[0]["loc"])
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    return problems.InvalidInput(f"{place}: {listed[0]['msg']}{more}", errors=listed[:100])


def _is_place(part: str | int) -> bool:
    """Leave out what pydantic puts into a path to tell the branches of a union apart."""
    return isinstance(part, int) or not (part in {"str", "int", "float", "bool"} or "[" in part)


def _message(item: Mapping[str, Any]) -> str:
    match item["type"]:
        case "string_unicode":
            return "the text contains a lone surrogate: send valid Unicode"
        case "extra_forbidden":
            return "this field is not known here"
        case "json_invalid":
            return str(item.get("ctx", {}).get("error", item["msg"]))
        case "too_short":
            return f"give at least {item['ctx']['min_length']}"
        case "value_error":
            return str(item["msg"]).removeprefix("Value error, ")
    return str(item["msg"])


def from_http_exception(error: HTTPException, request: Request) -> RequestProblem:
    """The problem that stands for an exception of the framework."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.BAD_REQUEST:  # raised for bodies alone: nested too deep, or not UTF-8
        msg = "the body is nested too deep or is not UTF-8"
        return problems.MalformedJson(f"{msg}: {error.detail}", errors=[FieldError(loc=["body"], msg=msg)])
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problems.UnknownRoute(f"there is no {request.url.path}", headers=headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed = ", ".join(sorted(_methods_at(request)))
        return problems.MethodNotAllowed(f"{request.url.path} takes {allowed}, not {request.method}", headers=headers)
    refused = problems.RequestRefused(str(error.detail), headers=headers)
    refused.status = error.status_code
    return refused


def _methods_at(request: Request) -> set[str]:
    routes: list[BaseRoute] = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return {method for method in METHODS if any(route.matches(scopes[method])[0] is Match.FULL for route in routes)}


async def _unless_forgotten(error: ErrataError, state: ApiState) -> ErrataError:
    """The error, or that nobody can tell now: to a ledger that was forgotten everything is unknown."""
    if isinstance(error, NotFound | EditNotLive):
        try:
            await call_with_timeout(partial(require_ledger_intact, state.ledger, StoreLayout(state.settings.data)))
        except LedgerForgotten as unknown:
            return unknown
        except (LedgerDown, TimeoutError):
            return error
    return error


def install_error_handlers(app: FastAPI) -> None:
    """Make every refusal of this application a problem document."""

    async def errata_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, ErrataError)
        if status_of(type(error)) == INTERNAL:
            raise error
        return problem(await _unless_forgotten(error, request.app.state.errata), instance=request.url.path)

    async def validation_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, RequestValidationError)
        declared = request.headers.get("content-type", "")
        unread = any(item["loc"] == ("body",) and item["type"] != "missing" for item in error.errors())
        refused = problems.WrongMediaType(declared) if unread and not is_json(declared) else None
        return problem(refused or invalid_input(error.errors()), instance=request.url.path)

    async def framework_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, HTTPException)
        return problem(from_http_exception(error, request), instance=request.url.path)

    app.add_exception_handler(ErrataError, errata_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, framework_error)
