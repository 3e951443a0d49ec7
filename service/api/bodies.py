"""Parses request bodies after authorization and outside of the event loop. Errors name every fault.

FastAPI parses a declared body before authorization and in the event loop, so a client without a key could block
all others with a large body.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from editing_core.formats.json_records import kind_of
from service.api.problems.kinds import BodyTooLarge, FieldError, InvalidInput, MalformedJson, WrongMediaType, is_json
from service.api.problems.validation import invalid_input

ModelT = TypeVar("ModelT", bound=BaseModel)


async def json_body(request: Request) -> bytes:
    """Return the bytes of the body. Raises WrongMediaType unless the request declares them as JSON."""
    declared = request.headers.get("content-type", "")
    if not is_json(declared):
        raise WrongMediaType(declared)
    return await request.body()


def read_object(body: bytes) -> dict[str, Any]:
    """Parse the bytes as a JSON object. Raises MalformedJson, or InvalidInput for other JSON."""
    try:
        document: Any = from_json(body, allow_inf_nan=False, cache_strings=False)
    except (ValueError, RecursionError) as error:
        msg = _explain(error) if body.strip() else "the body is empty: send a JSON object"
        raise MalformedJson(f"the body cannot be read: {msg}", errors=[FieldError(loc=["body"], msg=msg)]) from None
    if not isinstance(document, dict):
        msg = f"send a JSON object, not {kind_of(document)}"
        raise InvalidInput(f"body: {msg}", errors=[FieldError(loc=["body"], msg=msg)])
    return document


def read_as(model: type[ModelT], body: bytes, *, max_bytes: int) -> ModelT:
    """Parse the bytes as ``model``. Raises BodyTooLarge, MalformedJson, InvalidInput."""
    if len(body) > max_bytes:
        raise BodyTooLarge(f"a body may hold {max_bytes} bytes here, and this one has {len(body)}")
    try:
        return model.model_validate(read_object(body))
    except ValidationError as error:
        raise invalid_input(error.errors(include_url=False, include_input=False), prefix=("body",)) from None


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of a body that ``read_as`` parses. ``model`` must not refer to other models."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def _explain(error: Exception) -> str:
    text = str(error)
    if "hex escape" in text or "surrogate" in text:
        return f"{text}: half of a surrogate pair is not a character; send valid Unicode"
    return text
