"""The OpenAPI document: FastAPI's own, with problem documents and with the bodies that routes parse themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.problems.statuses import all_problems, status_of
from service.api.schemas.guards import GuardList
from service.api.schemas.requests import Submission
from service.api.schemas.responses import ProblemOut

REF = "#/components/schemas/{model}"
PROBLEM = {"application/problem+json": {"schema": {"$ref": REF.format(model="ProblemOut")}}}
BY_HAND: tuple[type[BaseModel], ...] = (Submission, GuardList, ProblemOut)
"""Models that no route declares to FastAPI: bodies that routes parse themselves, and the problem document."""
NEVER_ANSWERED = ("HTTPValidationError", "ValidationError")
Responses = dict[int | str, dict[str, Any]]
DESCRIPTION = """Errata corrects what a running language model believes.

Every refusal is a problem document (RFC 9457, `application/problem+json`) that names the fault, its place, and the next
step; `/problems` explains each kind. Every response carries `X-Request-Id`."""


def refusals(*statuses: int, guarded: bool = True) -> Responses:
    """Return the ``responses`` of a route: these refusals, and those of every (``guarded``) route."""
    titles: dict[int, list[str]] = {}
    for kind in all_problems().values():
        titles.setdefault(status_of(kind), []).append(kind.title)
    wanted = sorted({*statuses, 422, 500} | ({401, 403} if guarded else set()))
    return {
        status: {"description": "; ".join(titles.get(status, ["Refused"])), "content": PROBLEM} for status in wanted
    }


def install_openapi(app: FastAPI) -> None:
    """Replace the application's OpenAPI document. It is created once, on the first request for it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    _, extra = models_json_schema([(model, "validation") for model in BY_HAND], ref_template=REF)
    schemas.update(extra["$defs"])
    for name in NEVER_ANSWERED:
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            _describe_invalid_input(operation)
    return document


def _describe_invalid_input(operation: dict[str, Any]) -> None:
    """Replace FastAPI's own description of a 422 by ours."""
    answer = operation.get("responses", {}).get("422")
    if answer is not None:
        answer["content"] = PROBLEM
