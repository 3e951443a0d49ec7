"""Answers of ``/generate`` as server-sent events: pieces of text, the end of each answer, or what went wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from editing_core.errors import ErrataError
from service.api.problems.rendering import problem_document
from service.generation.decoding.requests import GenerationResult, Piece, TokenLogprobs
from service.generation.prompts import Prompts
from service.generation.questions import AnswerStream


async def generation_events(stream: AnswerStream, prompts: Prompts, *, numbered: bool) -> AsyncIterator[str]:
    """``data`` of each piece; then, for each answer, ``event: end``, or ``event: problem`` where it ends early.

    ``numbered``: each event says to which prompt of the list it belongs.
    """
    async for number, said in stream.events:
        index = {"index": number} if numbered else {}
        if isinstance(said, Piece):
            logprobs = {"logprobs": told(said.logprobs, prompts)} if said.logprobs else {}
            yield f"data: {_json({**index, 'text': said.text, **logprobs})}\n\n"
        elif isinstance(said, ErrataError):
            yield f"event: problem\ndata: {_json({**index, **problem_document(said)})}\n\n"
        else:
            yield f"event: end\ndata: {_json({**index, **_end(stream, number, said)})}\n\n"


def told(logprobs: tuple[TokenLogprobs, ...], prompts: Prompts) -> list[dict[str, Any]]:
    """What is told of each token, in JSON's terms."""
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
