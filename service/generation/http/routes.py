"""``/generate`` and ``/score``. A client that disconnects frees its places."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.api.bodies import PROMPT_BODY_BYTES, body_schema, json_body, read_as
from service.api.openapi import Responses, refusals
from service.generation.decoding.score import Score
from service.generation.generation_service import GenerationService
from service.generation.http.callers import Callers
from service.generation.http.connection import VERSION_HEADER, event_stream, respond_while_connected
from service.generation.http.events import generation_events, logprobs_json
from service.generation.http.schemas import (
    GenerateAnswer,
    GenerateAnswers,
    GenerateBody,
    GenerateQuery,
    ScoreAnswer,
    ScoreAnswers,
    ScoreBody,
    ScoreQuery,
    TopToken,
    Usage,
    WrittenToken,
)
from service.generation.messages import GenerationResults, Sampling, ScoreResults, VersionChoice

ModelT = TypeVar("ModelT", bound=BaseModel)
Body = Annotated[bytes, Depends(json_body)]

INLINE_BYTES = 16 * 1024
"""Bodies up to this size are parsed in less time than waking a thread takes."""
EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}


def generation_router(service: GenerationService, callers: Callers) -> APIRouter:
    """Return the routes that query one process's versions."""
    router = APIRouter(responses=refusals(400, 404, 409, 429, 503, 504))
    header = {"schema": {"type": "string"}, "description": "the version that answered"}
    headers: Responses = {200: {"headers": {VERSION_HEADER: header}}}
    streaming: Responses = {200: {"headers": {VERSION_HEADER: header}, "content": EVENTS}}
    endpoints = _Endpoints(service, callers)

    @router.get("/generate", summary="Continue a prompt", response_model=GenerateAnswer, responses=streaming)
    async def generate_by_query(request: Request, query: Annotated[GenerateQuery, Query()]) -> Response:
        return await respond_while_connected(request, endpoints.generate(request, query))

    @router.post(
        "/generate",
        summary="Continue a prompt, or several",
        response_model=GenerateAnswer | GenerateAnswers,
        responses=streaming | refusals(413, 415),
        openapi_extra=body_schema(GenerateBody),
    )
    async def generate_by_body(request: Request, body: Body) -> Response:
        return await respond_while_connected(request, endpoints.generate(request, await read_body(GenerateBody, body)))

    @router.get("/score", summary="Score a target after a prompt", response_model=ScoreAnswer, responses=headers)
    async def score_by_query(request: Request, query: Annotated[ScoreQuery, Query()]) -> Response:
        return await respond_while_connected(request, endpoints.score(request, query))

    @router.post(
        "/score",
        summary="Score targets after prompts",
        response_model=ScoreAnswer | ScoreAnswers,
        responses=headers | refusals(413, 415),
        openapi_extra=body_schema(ScoreBody),
    )
    async def score_by_body(request: Request, body: Body) -> Response:
        return await respond_while_connected(request, endpoints.score(request, await read_body(ScoreBody, body)))

    return router


async def read_body(model: type[ModelT], body: bytes) -> ModelT:
    """Parse the body as ``model``, in a thread if it is large."""
    if len(body) <= INLINE_BYTES:
        return read_as(model, body, max_bytes=PROMPT_BODY_BYTES)
    return await run_in_threadpool(read_as, model, body, max_bytes=PROMPT_BODY_BYTES)


class _Endpoints:
    """Converts HTTP requests to calls of the service, and its results to responses."""

    def __init__(self, service: GenerationService, callers: Callers) -> None:
        self._service = service
        self._callers = callers

    async def generate(self, request: Request, asked: GenerateQuery | GenerateBody) -> Response:
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        caller = self._callers.of(request, timeout_seconds=asked.timeout_seconds)
        choice = _choice(asked)
        if asked.stream:
            resources = AsyncExitStack()
            stream = await resources.enter_async_context(
                self._service.stream(prompts, _sampling(asked), choice, caller=caller)
            )
            events = generation_events(stream, self._service.prompts, numbered=not isinstance(asked.prompt, str))
            return event_stream(events, resources, stream.version, caller)
        done = await self._service.generate(prompts, _sampling(asked), choice, caller=caller)
        alone = isinstance(asked.prompt, str)
        if asked.logprobs is None:
            return self._response(prompts, done, alone=alone)
        return await run_in_threadpool(self._response, prompts, done, alone=alone)  # takes seconds for many tokens

    def _response(self, prompts: list[str], done: GenerationResults, *, alone: bool) -> Response:
        answers = self._answers(prompts, done)
        return _json(answers[0] if alone else GenerateAnswers(answers=answers), done.version)

    async def score(self, request: Request, asked: ScoreQuery | ScoreBody) -> Response:
        targets = [asked.target] if isinstance(asked.target, str) else asked.target
        prompts = [asked.prompt] * len(targets) if isinstance(asked.prompt, str) else asked.prompt
        caller = self._callers.of(request, timeout_seconds=asked.timeout_seconds)
        done = await self._service.score(prompts, targets, _choice(asked), caller=caller)
        scores = [self._score(score, done) for score in done.scores]
        return _json(scores[0] if isinstance(asked.target, str) else ScoreAnswers(scores=scores), done.version)

    def _answers(self, prompts: list[str], done: GenerationResults) -> list[GenerateAnswer]:
        return [
            GenerateAnswer(
                prompt=prompt,
                text=result.text,
                finish_reason=result.finish_reason,
                version=done.version,
                usage=Usage(prompt_tokens=num_tokens, completion_tokens=len(result.ids)),
                logprobs=[
                    WrittenToken.model_validate(item) for item in logprobs_json(result.logprobs, self._service.prompts)
                ]
                or None,
            )
            for prompt, result, num_tokens in zip(prompts, done.results, done.num_prompt_tokens, strict=True)
        ]

    def _score(self, score: Score, done: ScoreResults) -> ScoreAnswer:
        return ScoreAnswer(
            logprob=score.logprob,
            probability=score.probability,
            rank=score.rank,
            greedy_match=score.greedy_match,
            top=[
                TopToken(token=self._service.prompts.text_of(token), probability=probability)
                for token, probability in score.top
            ],
            version=done.version,
        )


def _choice(asked: GenerateQuery | GenerateBody | ScoreQuery | ScoreBody) -> VersionChoice:
    return VersionChoice(version=asked.version, min_version=asked.min_version)


def _sampling(asked: GenerateQuery | GenerateBody) -> Sampling:
    return Sampling(
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=asked.seed,
        stop=tuple(asked.stop),
        num_logprobs=asked.logprobs,
    )


def _json(answer: BaseModel, version: str) -> Response:
    content = answer.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, headers={VERSION_HEADER: version})
