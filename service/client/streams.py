"""Answers that come piece by piece: server-sent events as records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from service.client.errors import ErrataApiError, UnexpectedAnswer
from service.client.records import Record


class GenerationPiece(Record):
    """What an answer has grown by; the last one has no text and tells the rest."""

    text: str = ""
    finish_reason: str | None = None
    version: str | None = None
    usage: dict[str, int] | None = None
    logprobs: list[dict[str, Any]] | None = None


def pieces_of(lines: Iterable[str]) -> Iterator[GenerationPiece]:
    """The pieces that a stream's lines tell. Raises ErrataApiError where it ends with a problem."""
    ended, is_problem = False, False
    for line in lines:
        if line.startswith("event: "):
            is_problem, ended = line == "event: problem", line == "event: end"
        elif line.startswith("data: "):
            told = json.loads(line.removeprefix("data: "))
            if is_problem:
                names = ("status", "type", "title", "detail", "next_step")
                raise ErrataApiError(**{name: told[name] for name in names})
            yield GenerationPiece.model_validate(told)
    if not ended:
        raise UnexpectedAnswer("the stream broke off before the answer's end: ask again")
