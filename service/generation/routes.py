"""The routes that ask the model; a client that goes away frees its places."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.api.bodies import described_body, json_body, read_as
from service.api.routes.documented import Responses, refusals
from service.generation.asking import Asker, Choice, Continuations, Sampling, TargetScored
from service.generation.schemas import (
    GenerateAnswer,
    GenerateAnswers,
    GenerateBody,
    GenerateQuery,
    ScoreAnswer,
    ScoreBody,
    ScoreQuery,
    TopToken,
    Usage,
)

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)
Body = Annotated[bytes, Depends(json_body)]

VERSION_HEADER = "X-Model-Version"
CLIENT_GONE = 499
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Far above what any context holds."""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def generation_router(asker: Asker) -> APIRouter:
    """The routes over one process's resident model."""
    router = APIRouter(responses=refusals(400, 404, 409, 429, 503))
    header = {"schema": {"type": "string"}, "description": "the version that answered"}
    headers: Responses = {200: {"headers": {VERSION_HEADER: header}}}

    @router.get("/generate", summary="Continue a prompt", response_model=GenerateAnswer, responses=headers)
    async def generate_by_query(request: Request, query: Annotated[GenerateQuery, Query()]) -> Response:
        return await _answered(request, _generate(asker, query))

    @router.post(
        "/generate",
        summary="Continue a prompt, or several",
        response_model=GenerateAnswer | GenerateAnswers,
        responses=headers | refusals(413, 415),
        openapi_extra=described_body(GenerateBody),
    )
    async def generate_by_body(request: Request, body: Body) -> Response:
        return await _answered(request, _generate(asker, await _read(GenerateBody, body)))

    @router.get("/score", summary="Score a target after a prompt", response_model=ScoreAnswer, responses=headers)
    async def score_by_query(request: Request, query: Annotated[ScoreQuery, Query()]) -> Response:
        return await _answered(request, _score(asker, query))

    @router.post(
        "/score",
        summary="Score a target after a prompt",
        response_model=ScoreAnswer,
        responses=headers | refusals(413, 415),
        openapi_extra=described_body(ScoreBody),
    )
    async def score_by_body(request: Request, body: Body) -> Response:
        return await _answered(request, _score(asker, await _read(ScoreBody, body)))

    return router


async def _read(model: type[ModelT], body: bytes) -> ModelT:
    return await run_in_threadpool(read_as, model, body, max_bytes=MAX_BODY_BYTES)


async def _generate(asker: Asker, asked: GenerateQuery | GenerateBody) -> tuple[str, BaseModel]:
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    sampling = Sampling(
        max_new_tokens=asked.max_new_tokens, temperature=asked.temperature, top_p=asked.top_p, seed=asked.seed
    )
    done = await asker.generate(prompts, sampling, _choice(asked))
    answers = _answers(prompts, done)
    return done.version, answers[0] if isinstance(asked.prompt, str) else GenerateAnswers(answers=answers)


async def _score(asker: Asker, asked: ScoreQuery | ScoreBody) -> tuple[str, BaseModel]:
    done = await asker.score(asked.prompt, asked.target, _choice(asked))
    return done.version, _score_answer(done)


def _choice(asked: GenerateQuery | GenerateBody | ScoreQuery | ScoreBody) -> Choice:
    return Choice(version=asked.version, min_version=asked.min_version)


def _answers(prompts: list[str], done: Continuations) -> list[GenerateAnswer]:
    return [
        GenerateAnswer(
            prompt=prompt,
            text=result.text,
            finish_reason=result.finish_reason,
            version=done.version,
            usage=Usage(prompt_tokens=num_tokens, completion_tokens=len(result.ids)),
        )
        for prompt, result, num_tokens in zip(prompts, done.results, done.num_prompt_tokens, strict=True)
    ]


def _score_answer(done: TargetScored) -> ScoreAnswer:
    return ScoreAnswer(
        logprob=done.score.logprob,
        probability=done.score.probability,
        rank=done.score.rank,
        greedy_match=done.score.greedy_match,
        top=[TopToken(token=token, probability=probability) for token, probability in done.top],
        version=done.version,
    )


async def _answered(request: Request, work: Coroutine[Any, Any, tuple[str, BaseModel]]) -> Response:
    try:
        version, answer = await while_connected(request, work)
    except ClientGone:
        return Response(status_code=CLIENT_GONE)
    return JSONResponse(answer.model_dump(mode="json"), headers={VERSION_HEADER: version})


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; the work is cancelled, and ClientGone raised, when the client goes before."""
    working = asyncio.create_task(work)
    going = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        for task in (working, going):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
