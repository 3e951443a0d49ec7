"""Converts errors of pydantic and of the framework to problems."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from service.api.problems import kinds
from service.api.problems.kinds import FieldError, RequestProblem

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_LISTED = 100
"""Largest number of faults in one problem."""


def invalid_input(items: Any, *, prefix: tuple[str | int, ...] = ()) -> RequestProblem:
    """Return the problem for pydantic's errors: InvalidInput, or MalformedJson if the body is not JSON at all."""
    listed = [FieldError(loc=[*prefix, *filter(_is_place, item["loc"])], msg=_message(item)) for item in items]
    if any(item["type"] == "json_invalid" for item in items):
        return kinds.MalformedJson(f"the body cannot be read: {listed[0]['msg']}", errors=listed)
    if any(item["type"] == "missing" and tuple(item["loc"]) == ("body",) for item in items):
        return kinds.MalformedJson("the body is empty: send a JSON object", errors=listed)
    place = ".".join(str(part) for part in listed[0]["loc"])
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    return kinds.InvalidInput(f"{place}: {listed[0]['msg']}{more}", errors=listed[:MAX_LISTED])


def _is_place(part: str | int) -> bool:
    """Whether a part of pydantic's path is a place in the input and not the name of a union's branch."""
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
    """Return the problem for an exception of the framework."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.BAD_REQUEST:  # raised only for deep nesting and for bytes that are not UTF-8
        msg = "the body is nested too deeply or is not UTF-8"
        return kinds.MalformedJson(f"{msg}: {error.detail}", errors=[FieldError(loc=["body"], msg=msg)])
    if error.status_code == HTTPStatus.NOT_FOUND:
        return kinds.UnknownRoute(f"there is no {request.url.path}", headers=headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed = ", ".join(sorted(_methods_at(request)))
        return kinds.MethodNotAllowed(f"{request.url.path} takes {allowed}, not {request.method}", headers=headers)
    refused = kinds.RequestRefused(str(error.detail), headers=headers)
    refused.status = error.status_code
    return refused


def _methods_at(request: Request) -> set[str]:
    routes: list[BaseRoute] = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return {method for method in METHODS if any(route.matches(scopes[method])[0] is Match.FULL for route in routes)}
