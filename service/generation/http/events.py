"""The answers of ``/generate`` as server-sent events: pieces of text, ends of answers, and problems."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from editing_core.errors import ErrataError
from service.api.problems.rendering import problem_document
from service.generation.decoding.requests import GenerationResult, Piece, TokenLogprobs
from service.generation.messages import AnswerStream
from service.generation.prompts import Prompts


async def generation_events(stream: AnswerStream, prompts: Prompts, *, numbered: bool) -> AsyncIterator[str]:
    """Yield a ``data`` event per piece, then ``event: end`` for each answer, or ``event: problem`` if it failed.

    ``numbered``: each event has the index of its prompt in the list.
    """
    async for number, event in stream.events:
        index = {"index": number} if numbered else {}
        if isinstance(event, Piece):
            logprobs = {"logprobs": logprobs_json(event.logprobs, prompts)} if event.logprobs else {}
            yield f"data: {_json({**index, 'text': event.text, **logprobs})}\n\n"
        elif isinstance(event, ErrataError):
            yield f"event: problem\ndata: {_json({**index, **problem_document(event)})}\n\n"
        else:
            yield f"event: end\ndata: {_json({**index, **_end(stream, number, event)})}\n\n"


def logprobs_json(logprobs: tuple[TokenLogprobs, ...], prompts: Prompts) -> list[dict[str, Any]]:
    """Return the log-probabilities of each token as JSON values."""
    return [
        {
            "token": prompts.text_of(item.token),
            "logprob": item.logprob,
            "top": [{"token": prompts.text_of(token), "logprob": logprob} for token, logprob in item.top],
        }
        for item in logprobs
    ]


def _end(stream: AnswerStream, number: int, result: GenerationResult) -> dict[str, Any]:
    usage = {"prompt_tokens": stream.num_prompt_tokens[number], "completion_tokens": len(result.ids)}
    return {"finish_reason": result.finish_reason, "version": stream.version, "usage": usage}


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
