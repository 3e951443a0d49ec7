"""Parses request bodies after authorization and outside of the event loop. Errors name every fault.

FastAPI parses a declared body before authorization and in the event loop, so a client without a key could block
all others with a large body.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from editing_core.formats.json_records import first_repeated, kind_of
from service.api.problems.kinds import BodyTooLarge, FieldError, InvalidInput, MalformedJson, WrongMediaType, is_json
from service.api.problems.validation import invalid_input

ModelT = TypeVar("ModelT", bound=BaseModel)
SMALL_BODY_BYTES = 64 * 1024
"""Largest body of a route that takes a few fields."""
PROMPT_BODY_BYTES = 4 * 1024 * 1024
"""Largest body of a route that takes prompts."""
_WITH_LISTS = frozenset({"/edits", "/guards"})
_WITH_PROMPTS = ("/generate", "/score", "/v1/")


def largest_body(path: str, *, max_body_bytes: int) -> int:
    """Return the largest body of a path in bytes: ``max_body_bytes`` for lists of edits or guards."""
    if path in _WITH_LISTS:
        return max_body_bytes
    return min(max_body_bytes, PROMPT_BODY_BYTES if path.startswith(_WITH_PROMPTS) else SMALL_BODY_BYTES)


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
    _require_unique_keys(body)
    if not isinstance(document, dict):
        msg = f"send a JSON object, not {kind_of(document)}"
        raise InvalidInput(f"body: {msg}", errors=[FieldError(loc=["body"], msg=msg)])
    return document


class _Repeated(dict[str, Any]):
    """An object of JSON that names a key more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.key = first_repeated(name for name, _ in pairs)


def _require_unique_keys(body: bytes) -> None:
    """Raise InvalidInput with the place of an object that names a key twice: readers of JSON disagree on its value.

    The first pass keeps no values. Only a body with a repeat is read once more, to find the place.
    """
    has_repeat = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal has_repeat
        has_repeat = has_repeat or len(dict(pairs)) < len(pairs)

    try:
        json.loads(body, object_pairs_hook=look)
    except (ValueError, RecursionError) as error:
        raise MalformedJson(
            f"the body cannot be read: {error}", errors=[FieldError(loc=["body"], msg=str(error))]
        ) from None
    if not has_repeat:
        return
    for place, key in _repeated(json.loads(body, object_pairs_hook=_object), ["body"]):
        msg = f"the key {key!r} appears twice in one object: leave one out"
        raise InvalidInput(f"{'.'.join(map(str, place))}: {msg}", errors=[FieldError(loc=[*place, str(key)], msg=msg)])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _repeated(value: Any, place: list[str | int]) -> Iterator[tuple[list[str | int], str | None]]:
    if isinstance(value, _Repeated):
        yield place, value.key
    if isinstance(value, dict):
        children: Iterable[tuple[str | int, Any]] = value.items()
    else:
        children = enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        if isinstance(child, (dict, list)):
            yield from _repeated(child, [*place, name])


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
