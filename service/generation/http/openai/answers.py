"""Answers in OpenAI's format, complete or as a stream of pieces."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence

from editing_core.errors import ErrataError
from service.api.problems.rendering import OPENAI_PATH, problem_response
from service.generation.decoding.requests import GenerationResult, Piece, TokenLogprobs
from service.generation.http.openai.schemas import Completion, CompletionChoice, CompletionLogprobs, CompletionUsage
from service.generation.messages import AnswerStream, GenerationResults
from service.generation.prompts import Prompts


class CompletionWriter:
    """Writes the answers to one request."""

    def __init__(self, prompts: Prompts, *, model: str, version: str, num_answers: int) -> None:
        self._prompts = prompts
        self._model = model
        self._version = version
        self._num_answers = num_answers
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._offsets: dict[int, int] = {}

    def whole(self, done: GenerationResults) -> Completion:
        """Return the complete answers."""
        choices = [
            CompletionChoice(
                index=index,
                text=result.text,
                logprobs=self._logprobs(index, result.logprobs),
                finish_reason=result.finish_reason,
            )
            for index, result in enumerate(done.results)
        ]
        return self._completion(choices, self._usage(done.num_prompt_tokens, done.results))

    async def events(self, stream: AnswerStream, *, include_usage: bool) -> AsyncIterator[str]:
        """Yield the pieces of all answers as server-sent events."""
        results: list[GenerationResult] = []
        async for index, event in stream.events:
            if isinstance(event, ErrataError):  # OpenAI's clients raise at an error and ignore all later events
                yield f"data: {bytes(problem_response(event, instance=OPENAI_PATH).body).decode()}\n\n"
                return
            if isinstance(event, Piece):
                logprobs = self._logprobs(index, event.logprobs)
                choice = CompletionChoice(index=index, text=event.text, logprobs=logprobs)
            else:
                results.append(event)
                choice = CompletionChoice(index=index, text="", finish_reason=event.finish_reason)
            yield _event(self._completion([choice]))
        if include_usage:
            yield _event(self._completion([], self._usage(stream.num_prompt_tokens, results)))
        yield "data: [DONE]\n\n"

    def _completion(self, choices: list[CompletionChoice], usage: CompletionUsage | None = None) -> Completion:
        return Completion(
            id=self._id,
            created=self._created,
            model=self._model,
            system_fingerprint=self._version,
            choices=choices,
            usage=usage,
        )

    def _usage(self, num_prompt_tokens: Sequence[int], results: Sequence[GenerationResult]) -> CompletionUsage:
        num_prefilled = sum(num_prompt_tokens[:: self._num_answers])
        num_written = sum(len(result.ids) for result in results)
        return CompletionUsage(
            prompt_tokens=num_prefilled, completion_tokens=num_written, total_tokens=num_prefilled + num_written
        )

    def _logprobs(self, index: int, logprobs: Sequence[TokenLogprobs]) -> CompletionLogprobs | None:
        if not logprobs:
            return None
        tokens = [self._prompts.text_of(item.token) for item in logprobs]
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(token)
        return CompletionLogprobs(
            tokens=tokens,
            token_logprobs=[item.logprob for item in logprobs],
            top_logprobs=[
                {self._prompts.text_of(token): logprob for token, logprob in reversed(item.top)} for item in logprobs
            ],
            text_offset=offsets,
        )


def _event(completion: Completion) -> str:
    content = completion.model_dump(mode="json")
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"
