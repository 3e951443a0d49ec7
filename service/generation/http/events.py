"""Answers of ``/generate`` as server-sent events: pieces of text, the end of each answer, or what went wrong."""

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
    """``data`` of each piece; then, for each answer, ``event: end``, or ``event: problem`` where it ends early.

    ``numbered``: each event says to which prompt of the list it belongs.
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
    """What is logprobs_json of each token, in JSON's terms."""
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
