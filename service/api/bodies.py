"""Bodies, read by hand: after the key was looked at, outside of the event loop, and with every fault named.

FastAPI would read a declared body first, in the loop: whoever has no key could hold up all others with a large one.
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
    """The body's bytes. Raises WrongMediaType unless the request calls them JSON."""
    declared = request.headers.get("content-type", "")
    if not is_json(declared):
        raise WrongMediaType(declared)
    return await request.body()


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are. Raises MalformedJson, or InvalidInput for JSON that is no object."""
    try:
        document: Any = from_json(body, allow_inf_nan=False, cache_strings=False)
    except (ValueError, RecursionError) as error:
        msg = _explain(error) if body.strip() else "the body is empty: a JSON object is needed"
        raise MalformedJson(f"the body cannot be read: {msg}", errors=[FieldError(loc=["body"], msg=msg)]) from None
    if not isinstance(document, dict):
        msg = f"a JSON object is needed, not {kind_of(document)}"
        raise InvalidInput(f"body: {msg}", errors=[FieldError(loc=["body"], msg=msg)])
    return document


def read_as(model: type[ModelT], body: bytes, *, max_bytes: int) -> ModelT:
    """The bytes as ``model``. Raises BodyTooLarge, MalformedJson, InvalidInput."""
    if len(body) > max_bytes:
        raise BodyTooLarge(f"a body may hold {max_bytes} bytes here, and this one has {len(body)}")
    try:
        return model.model_validate(read_object(body))
    except ValidationError as error:
        raise invalid_input(error.errors(include_url=False, include_input=False), prefix=("body",)) from None


def described_body(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that is read as ``model`` by hand; the model refers to no other."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def _explain(error: Exception) -> str:
    text = str(error)
    if "hex escape" in text or "surrogate" in text:
        return f"{text}: half of a surrogate pair is no character; send valid Unicode"
    return text
