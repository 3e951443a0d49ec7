"""``/v1/models`` and ``/v1/completions`` in OpenAI's format; errors under ``/v1`` have OpenAI's shape."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from service.api.bodies import body_schema
from service.generation.generation_service import GenerationService
from service.generation.http.callers import Callers
from service.generation.http.connection import VERSION_HEADER, event_stream, respond_while_connected
from service.generation.http.openai.answers import CompletionWriter
from service.generation.http.openai.catalogue import Catalogue, NamedModel
from service.generation.http.openai.schemas import Completion, CompletionBody, Model, Models
from service.generation.http.routes import EVENTS, Body, read_body
from service.generation.messages import Sampling, VersionChoice
from service.generation.prompts import Prompt

NUM_TOKENS = 16
"""OpenAI's default of ``max_tokens``."""
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code")},
        }
    },
}
REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"description": "Refused, in OpenAI's shape", "content": {"application/json": {"schema": ERROR}}}
    for status in (400, 401, 403, 404, 409, 422, 429, 503, 504)
}


def openai_router(service: GenerationService, callers: Callers, catalogue: Catalogue) -> APIRouter:
    """Return the routes that OpenAI's clients call, under ``/v1``."""
    router = APIRouter(prefix="/v1", responses=REFUSED)

    @router.get("/models", summary="List models, as OpenAI does")
    def list_models() -> Models:
        return Models(data=[_model(item) for item in catalogue.models()])

    @router.get("/models/{model:path}", summary="One model, as OpenAI does")
    def get_model(model: str) -> Model:
        return _model(catalogue.model(model))

    @router.post(
        "/completions",
        summary="Continue prompts, as OpenAI does",
        response_model=Completion,
        responses={200: {"content": EVENTS}},
        openapi_extra=body_schema(CompletionBody),
    )
    async def complete(request: Request, body: Body) -> Response:
        asked = await read_body(CompletionBody, body)
        choice = VersionChoice(version=catalogue.version_of(asked.model), min_version=asked.min_version)
        return await respond_while_connected(request, _complete(service, asked, choice, callers, request))

    return router


async def _complete(
    service: GenerationService, asked: CompletionBody, choice: VersionChoice, callers: Callers, request: Request
) -> Response:
    sampling, prompts, caller = _sampling(asked), _prompts(asked), callers.of(request)

    def writer(version: str) -> CompletionWriter:
        return CompletionWriter(service.prompts, model=asked.model, version=version, num_answers=sampling.num_answers)

    if asked.stream:
        resources = AsyncExitStack()
        stream = await resources.enter_async_context(service.stream(prompts, sampling, choice, caller=caller))
        include_usage = asked.stream_options is not None and asked.stream_options.include_usage
        events = writer(stream.version).events(stream, include_usage=include_usage)
        return event_stream(events, resources, stream.version, caller)
    done = await service.generate(prompts, sampling, choice, caller=caller)

    def response() -> Response:
        whole = writer(done.version).whole(done).model_dump(mode="json")
        return JSONResponse(whole, headers={VERSION_HEADER: done.version})

    return response() if asked.logprobs is None else await run_in_threadpool(response)  # takes seconds for many tokens


def _model(item: NamedModel) -> Model:
    return Model(id=item.name, created=item.created)


def _prompts(asked: CompletionBody) -> list[Prompt]:
    prompt: Any = asked.prompt
    alone = isinstance(prompt, str) or isinstance(prompt[0], int)
    return [prompt] if alone else prompt


def _sampling(asked: CompletionBody) -> Sampling:
    stop = asked.stop or []
    return Sampling(
        max_new_tokens=asked.max_tokens or NUM_TOKENS,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        seed=asked.seed,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        num_logprobs=asked.logprobs,
        num_answers=asked.n or 1,
    )
