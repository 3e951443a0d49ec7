"""What every part of the client stands on: one transport, lists page by page, and answers read as records."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from service.client.errors import UnexpectedAnswer
from service.client.records import ListPage, Record
from service.client.transport import Transport

RecordT = TypeVar("RecordT", bound=Record)


class ClientBase:
    """One service, spoken to by one key."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        self._transport = Transport(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self.base_url = self._transport.base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _get(self, path: str, **params: Any) -> Any:
        return json_of(self._transport.request("GET", path, idempotent=True, params=params))

    def _pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = read(ListPage, self._get(path, cursor=cursor, limit=500, **params))
            yield from page.items
            cursor = page.next
            if cursor is None:
                return


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def json_of(response: httpx.Response) -> Any:
    """The answer's JSON. Raises UnexpectedAnswer."""
    try:
        return response.json()
    except ValueError:
        kind = response.headers.get("Content-Type", "no type")
        raise UnexpectedAnswer(f"{response.url} answered with {kind}, not with JSON: that is not Errata") from None


def read(kind: type[RecordT], body: Any) -> RecordT:
    """The answer as a record. Raises UnexpectedAnswer."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        place, words = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"]
        raise UnexpectedAnswer(
            f"the answer is no {kind.__name__.lower()} ({place}: {words}): that is not Errata, or another one"
        ) from None


def object_of(response: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty when it is none."""
    body = json_of(response)
    return body if isinstance(body, dict) else {}


def part(text: str) -> str:
    """A part of a path."""
    return quote(text, safe="")
