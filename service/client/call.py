"""One request to the service and how its response is read; the same for both clients. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from service.client.errors import UnexpectedAnswer
from service.client.schemas import ListPage, Schema

ResultT = TypeVar("ResultT")
SchemaT = TypeVar("SchemaT", bound=Schema)
PAGE_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[ResultT]):
    """One request, and what its response is read as."""

    method: str
    path: str
    read: Callable[[httpx.Response], ResultT]
    """Turns a successful response into the result. Raises UnexpectedAnswer."""
    repeatable: bool = True
    """Whether a second copy of the request does no harm, so that a broken connection may be retried."""
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_seconds: float = 0.0
    """How much longer than usual the service may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Generic[SchemaT]):
    """Some items of a list, and the cursor of the next page; None: this is the last page."""

    items: list[SchemaT]
    next: str | None


@dataclass(frozen=True, slots=True)
class Listing(Generic[SchemaT]):
    """A list that the service answers page by page."""

    path: str
    kind: type[SchemaT]
    params: Mapping[str, Any] = field(default_factory=dict)

    def page(self, cursor: str | None) -> Call[Items[SchemaT]]:
        """The page at ``cursor``; None: the first one."""
        params = {**self.params, "cursor": cursor, "limit": PAGE_SIZE}
        return Call(method="GET", path=self.path, params=params, read=self._read)

    def _read(self, response: httpx.Response) -> Items[SchemaT]:
        page = parse(ListPage, json_of(response))
        return Items(items=[parse(self.kind, item) for item in page.items], next=page.next)


def as_schema(kind: type[SchemaT]) -> Callable[[httpx.Response], SchemaT]:
    """Reads a response as ``kind``. Raises UnexpectedAnswer."""
    return lambda response: parse(kind, json_of(response))


def json_of(response: httpx.Response) -> Any:
    """The JSON of a response. Raises UnexpectedAnswer."""
    try:
        return response.json()
    except ValueError:
        kind = response.headers.get("Content-Type", "no type")
        raise UnexpectedAnswer(f"{response.url} answered with {kind}, not with JSON: that is not Errata") from None


def parse(kind: type[SchemaT], body: Any) -> SchemaT:
    """JSON as ``kind``. Raises UnexpectedAnswer."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UnexpectedAnswer(
            f"the answer is not a {kind.__name__.lower()} ({place}: {first['msg']}): "
            "that is not Errata, or a version of it that this client does not know"
        ) from None


def segment(text: str) -> str:
    """Text as one segment of a path."""
    return quote(text, safe="")


def without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}
