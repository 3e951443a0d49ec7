"""Which error is answered how: one table, one rendering (RFC 9457), one list of all problems.

An error that is not in the table may carry ``status_hint`` (errors of ``service.generation``); one that has neither is
a fault of Errata itself and is answered 500.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from editing_core import errors as core
from editing_core.errors import ErrataError
from service.api import problems
from service.api.dialects import ProblemResponse, rendered
from service.api.problems import FieldError, RequestProblem, is_json
from worker.protocol import errors as protocol

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
INTERNAL = int(HTTPStatus.INTERNAL_SERVER_ERROR)

STATUS_OF: dict[type[ErrataError], int] = {
    core.InvalidEdit: 422,
    core.EditConflict: 409,
    core.InvalidPrompt: 400,
    core.InvalidSettings: 503,
    core.NotFound: 404,
    core.StoreError: 503,
    protocol.LedgerDown: 503,
    protocol.QueueFull: 429,
    protocol.IdempotencyMismatch: 422,
    protocol.InvalidCursor: 422,
    protocol.BatchNotCancellable: 409,
    protocol.StaleCandidate: 409,
    protocol.LostRace: 409,
}

RETRY_AFTER_SECONDS: dict[type[ErrataError], int] = {
    protocol.QueueFull: 5,
    protocol.LedgerDown: 2,
    problems.ServiceStopping: 2,
}
"""Where the error itself does not say how long to wait; all others are not mended by asking again."""

NEXT_STEP: dict[type[ErrataError], str] = {
    core.InvalidEdit: "Correct the named fields and send the batch again; nothing of it was taken.",
    core.EditConflict: "Leave one of the two edits out and send the batch again; nothing of it was taken.",
    core.InvalidPrompt: "Change the prompt as the detail says and ask again.",
    core.NotFound: "Check the id; GET /edits, /batches and /versions list what there is.",
    core.InvalidSettings: "Ask whoever runs this service to correct the named file or setting.",
    core.StoreError: "Ask whoever runs this service to look at its log and its data folder.",
    protocol.LedgerDown: (
        "Send the request again after the time in Retry-After; with an Idempotency-Key a batch is never taken twice."
    ),
    protocol.QueueFull: "Wait for the time in Retry-After and send the batch again; nothing of it was taken.",
    protocol.IdempotencyMismatch: "Use a new Idempotency-Key for a new body, or send the first body again.",
    protocol.InvalidCursor: "Begin the list again without a cursor, and use the cursors that its pages give.",
    protocol.BatchNotCancellable: "Let the batch end; an applied one is undone by promoting an older version.",
    protocol.StaleCandidate: "Post the edits again: what was computed for them is kept.",
    protocol.LostRace: "Something else changed this at the same moment: read it again, then decide.",
    problems.InvalidInput: "Correct the fields named in errors and send the request again.",
    problems.MalformedJson: "Send one JSON value in UTF-8; errors names the place where reading stopped.",
    problems.WrongMediaType: "Send the header Content-Type: application/json.",
    problems.BodyTooLarge: "Send less at once; edits can be sent in several smaller batches.",
    problems.TooManyEdits: "Send the edits in several smaller batches.",
    problems.KeyRequired: "Send Authorization: Bearer KEY; `errata keys add NAME` makes a key.",
    problems.ScopeMissing: "Use a key with the named scope; `errata keys add NAME --scope SCOPE` makes one.",
    problems.ForeignOrigin: "Ask under 127.0.0.1 or localhost, or make a key: `errata keys add NAME`.",
    problems.UnknownRoute: "See /docs for the paths that are served.",
    problems.MethodNotAllowed: "Use one of the methods in the header Allow.",
    problems.ServiceStopping: "Connect again after the time in Retry-After.",
    problems.InternalError: "Look up the request id in the service's log and report it.",
}
DEFAULT_STEP = "Change the request as the detail says and send it again."


def status_of(kind: type[ErrataError]) -> int:
    """The HTTP status that answers this kind of error."""
    for ancestor in kind.__mro__:
        if ancestor in STATUS_OF:
            return STATUS_OF[ancestor]
        own: Any = vars(ancestor).get("status_hint", vars(ancestor).get("status"))
        if isinstance(own, int):
            return own
    return INTERNAL


def next_step(kind: type[ErrataError]) -> str:
    """What the client can do about this kind of error."""
    for ancestor in kind.__mro__:
        if ancestor in NEXT_STEP:
            return NEXT_STEP[ancestor]
        if isinstance(own := vars(ancestor).get("next_step_hint"), str):
            return own
    return DEFAULT_STEP


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


def install_error_handlers(app: FastAPI) -> None:
    """Make every refusal of this application a problem document."""

    async def errata_error(request: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, ErrataError)
        if status_of(type(error)) == INTERNAL:
            raise error
        return problem(error, instance=request.url.path)

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
