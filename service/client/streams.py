"""Generations that arrive piece by piece: the lines of server-sent events as pieces of text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

from service.client.errors import ErrataApiError, UnexpectedAnswer
from service.client.schemas import GenerationPiece

_PROBLEM_FIELDS = ("status", "type", "title", "detail", "next_step")


class _EventReader:
    """Reads the events of one generation line by line."""

    def __init__(self) -> None:
        self._event = ""

    def read(self, line: str) -> GenerationPiece | None:
        """The piece that a line completes, if it does. Raises ErrataApiError for an event that reports a problem."""
        if line.startswith("event: "):
            self._event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            body = json.loads(line.removeprefix("data: "))
            if self._event == "problem":
                raise ErrataApiError(**{name: body[name] for name in _PROBLEM_FIELDS})
            return GenerationPiece.model_validate(body)
        return None

    def require_end(self) -> None:
        """Raises UnexpectedAnswer unless the last event was the end."""
        if self._event != "end":
            raise UnexpectedAnswer("the stream broke off before the end of the answer: send the request again")


def pieces_of(lines: Iterator[str]) -> Iterator[GenerationPiece]:
    """The pieces in a stream's lines. Raises ErrataApiError, or UnexpectedAnswer if the stream breaks off."""
    reader = _EventReader()
    for line in lines:
        if (piece := reader.read(line)) is not None:
            yield piece
    reader.require_end()


async def pieces_of_async(lines: AsyncIterator[str]) -> AsyncIterator[GenerationPiece]:
    """``pieces_of`` on asyncio."""
    reader = _EventReader()
    async for line in lines:
        if (piece := reader.read(line)) is not None:
            yield piece
    reader.require_end()
