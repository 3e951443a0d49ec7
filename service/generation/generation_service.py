"""Answers prompts with a version: encodes them, leases the version, submits them, and counts the results.

This module does not depend on HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from editing_core.errors import ErrataError
from service.generation.decoding.loop import DecodeLoop
from service.generation.decoding.requests import GenerationRequest, Piece, ScoreRequest
from service.generation.errors import AnswerLate, GenerationFailed, NothingServed
from service.generation.loop_bridge import LoopBridge
from service.generation.messages import AnswerStream, Caller, GenerationResults, Sampling, ScoreResults, VersionChoice
from service.generation.metrics import GenerationMetrics
from service.generation.prompts import Prompt, Prompts
from service.generation.stream_events import Finished, StreamEventQueue, StreamTiming, finish_times
from service.generation.versions.loading import Resident
from service.generation.versions.min_version import MinVersionResolver
from service.generation.versions.resident import ResidentVersions


class GenerationService:
    """Continues prompts and scores targets. Cancelling a call frees its places within one step.

    All calls raise RequestNotValid, PromptTooLong, TooManyWaiting, AnswerLate, GenerationFailed, NotFound,
    VersionUnavailable, NoRoom, NothingServed.
    """

    def __init__(
        self,
        prompts: Prompts,
        residents: ResidentVersions,
        loop: DecodeLoop,
        *,
        min_version: MinVersionResolver,
        metrics: GenerationMetrics,
    ) -> None:
        self.prompts = prompts
        self._residents = residents
        self._loop = loop
        self._min_version = min_version
        self._metrics = metrics
        self._bridge: LoopBridge | None = None

    async def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, choice: VersionChoice, *, caller: Caller
    ) -> GenerationResults:
        """Continue all prompts with one version."""
        with self._count_failures(len(prompts) * sampling.num_answers):
            started = time.perf_counter()
            requests = await self._requests(prompts, sampling, caller)
            async with self._leased(choice, caller=caller) as resident, self._submitted(resident, requests) as answers:
                ends = finish_times(answers)
                results = await asyncio.gather(*map(asyncio.wrap_future, answers))
        finished = {number: Finished(result, ends[number]) for number, result in enumerate(results)}
        self._count(requests, finished, started=started, each=sampling.num_answers)
        return GenerationResults(
            version=resident.version,
            results=tuple(results),
            num_prompt_tokens=tuple(len(request.prompt_ids) for request in requests),
        )

    @asynccontextmanager
    async def stream(
        self, prompts: Sequence[Prompt], sampling: Sampling, choice: VersionChoice, *, caller: Caller
    ) -> AsyncIterator[AnswerStream]:
        """Continue all prompts with one version and yield their pieces. Leaving the context frees the places.

        The version stays in memory until the last answer is complete, however slowly the client reads.
        """
        async with AsyncExitStack() as resources:
            started = time.perf_counter()
            with self._count_failures(len(prompts) * sampling.num_answers):
                requests = await self._requests(prompts, sampling, caller)
                resident = await resources.enter_async_context(self._leased(choice, caller=caller))
                queue = StreamEventQueue(
                    self._bridge_to_loop(), len(requests), timing=StreamTiming(self._metrics, started=started)
                )
                answers = await resources.enter_async_context(self._submitted(resident, requests, queue.post))
            version = resident.version
            del resident
            for number, answer in enumerate(answers):
                answer.add_done_callback(partial(queue.post, number))
            releasing = asyncio.create_task(_release(resources, queue))
            try:
                yield AnswerStream(
                    version=version,
                    num_prompt_tokens=tuple(len(request.prompt_ids) for request in requests),
                    events=queue.events(),
                )
            finally:
                releasing.cancel()
                self._count_delivered(requests, queue, started=started, each=sampling.num_answers)

    async def score(
        self, prompts: Sequence[str], targets: Sequence[str], choice: VersionChoice, *, caller: Caller
    ) -> ScoreResults:
        """Score each target after its prompt, all with one version."""
        with self._count_failures(len(targets), as_scores=True):
            deadline = time.monotonic() + caller.timeout_seconds
            pairs = await self.prompts.encoded_pairs(prompts, targets)
            requests = [
                ScoreRequest(prompt_ids=prompt, target_ids=target, client=caller.name, deadline=deadline)
                for prompt, target in pairs
            ]
            async with self._leased(choice, caller=caller) as resident, self._submitted(resident, requests) as answers:
                scores = await asyncio.gather(*map(asyncio.wrap_future, answers))
        self._metrics.record_scores(len(scores), num_tokens=sum(len(prompt) + len(target) for prompt, target in pairs))
        return ScoreResults(version=resident.version, scores=tuple(scores))

    async def _requests(self, prompts: Sequence[Prompt], sampling: Sampling, caller: Caller) -> list[GenerationRequest]:
        deadline = time.monotonic() + caller.timeout_seconds
        rows = await self.prompts.encoded(prompts, max_new_tokens=sampling.max_new_tokens)
        return [
            GenerationRequest(
                prompt_ids=row,
                client=caller.name,
                deadline=deadline,
                max_new_tokens=min(sampling.max_new_tokens, self.prompts.max_positions - len(row)),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=None if sampling.seed is None else (sampling.seed + number) % 2**63,
                stop=sampling.stop,
                num_logprobs=sampling.num_logprobs,
            )
            for row in rows
            for number in range(sampling.num_answers)
        ]

    @asynccontextmanager
    async def _leased(self, choice: VersionChoice, *, caller: Caller) -> AsyncIterator[Resident]:
        version, digest = choice.version, None
        async with AsyncExitStack() as resources:
            try:
                async with asyncio.timeout(caller.timeout_seconds):
                    if version is not None:
                        digest = await self._min_version.recorded_digest(version)
                    if choice.min_version is not None:
                        version = await self._min_version.wait_until_served(choice.min_version)
                    resident = await resources.enter_async_context(self._residents.lease(version, digest=digest))
            except TimeoutError:
                detail = "the version was not found and loaded in time: set a longer timeout, or retry later"
                raise AnswerLate(detail) from None
            yield resident

    @asynccontextmanager
    async def _submitted(
        self,
        resident: Resident,
        requests: Sequence[GenerationRequest | ScoreRequest],
        listener: Callable[[int, Piece], None] | None = None,
    ) -> AsyncIterator[list[Future[Any]]]:
        answers = self._loop.submit(resident.engine, requests, listener=listener)
        try:
            yield answers
        finally:
            for answer in answers:
                answer.cancel()

    def _bridge_to_loop(self) -> LoopBridge:
        """Return the bridge to the running event loop."""
        loop = asyncio.get_running_loop()
        if self._bridge is None or self._bridge.loop is not loop:
            self._bridge = LoopBridge(loop)
        return self._bridge

    @contextmanager
    def _count_failures(self, num_answers: int, *, as_scores: bool = False) -> Iterator[None]:
        """Count the answers, or scores, that fail."""
        count = self._metrics.record_unscored if as_scores else self._metrics.record_unanswered
        try:
            yield
        except asyncio.CancelledError:
            count(_outcome(None), num_answers)
            raise
        except Exception as error:
            count(_outcome(error), num_answers)
            raise

    def _count_delivered(
        self, requests: Sequence[GenerationRequest], queue: StreamEventQueue, *, started: float, each: int
    ) -> None:
        self._count(requests, queue.delivered, started=started, each=each)
        for error in queue.failed.values():
            self._metrics.record_unanswered(_outcome(error), 1)
        # A client that stops reading at the first failure has not disconnected, so the rest has the same outcome.
        failure = next(iter(queue.failed.values()), None)
        self._metrics.record_unanswered(_outcome(failure), len(requests) - len(queue.delivered) - len(queue.failed))

    def _count(
        self,
        requests: Sequence[GenerationRequest],
        finished: Mapping[int, Finished],
        *,
        started: float,
        each: int,
    ) -> None:
        """Count complete answers. ``each`` is the number of answers to a prompt, whose tokens are counted once."""
        for number, end in finished.items():
            self._metrics.record_answer(
                end.result.finish_reason,
                prompt_tokens=0 if number % each else len(requests[number].prompt_ids),
                completion_tokens=len(end.result.ids),
                seconds=end.at - started,
            )


async def _release(resources: AsyncExitStack, queue: StreamEventQueue) -> None:
    """Release the version and the places once the last answer is complete."""
    await queue.all_finished.wait()
    await resources.aclose()


def _outcome(error: BaseException | None) -> str:
    """Return the outcome label of an answer that failed. ``error`` is None if the client has disconnected."""
    if error is None:
        return "gone"
    is_refusal = isinstance(error, ErrataError) and not isinstance(error, GenerationFailed | NothingServed | AnswerLate)
    return "refused" if is_refusal else "failed"
