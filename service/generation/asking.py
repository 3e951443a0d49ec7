"""From texts to answers: the version that answers, its places, the streams, and the counts. Knows no HTTP."""

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
from service.generation.decoding.requests import GenerationRequest, GenerationResult, Piece, ScoreRequest
from service.generation.errors import AnswerLate, GenerationFailed, NothingServed
from service.generation.mailbox import Mailbox
from service.generation.metrics import GenerationMetrics
from service.generation.pace import Pace
from service.generation.prompts import Prompt, Prompts
from service.generation.questions import AnswerStream, Caller, Choice, Continuations, Sampling, TargetsScored
from service.generation.versions.lineage import Lineage
from service.generation.versions.loading import Resident
from service.generation.versions.resident import ResidentVersions


class Asker:
    """Asks the resident versions; cancelling a call frees its places within one step.

    All calls raise RequestNotValid, PromptTooLong, TooManyWaiting, AnswerLate, GenerationFailed, NotFound,
    VersionUnavailable, NoRoom, NothingServed.
    """

    def __init__(
        self,
        prompts: Prompts,
        residents: ResidentVersions,
        loop: DecodeLoop,
        *,
        lineage: Lineage,
        metrics: GenerationMetrics,
    ) -> None:
        self.prompts = prompts
        self._residents = residents
        self._loop = loop
        self._lineage = lineage
        self._metrics = metrics
        self._mailbox: Mailbox | None = None

    async def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, choice: Choice, *, caller: Caller
    ) -> Continuations:
        """Continue all prompts with one version."""
        with self._counted(len(prompts) * sampling.num_answers):
            started = time.perf_counter()
            requests = await self._requests(prompts, sampling, caller)
            async with self._chosen(choice, caller=caller) as resident, self._answers(resident, requests) as answers:
                results = await asyncio.gather(*map(asyncio.wrap_future, answers))
        self._count(requests, dict(enumerate(results)), time.perf_counter() - started, each=sampling.num_answers)
        return Continuations(
            version=resident.version,
            results=tuple(results),
            num_prompt_tokens=tuple(len(request.prompt_ids) for request in requests),
        )

    @asynccontextmanager
    async def stream(
        self, prompts: Sequence[Prompt], sampling: Sampling, choice: Choice, *, caller: Caller
    ) -> AsyncIterator[AnswerStream]:
        """The same, piece by piece; leaving the context frees the places."""
        letters: asyncio.Queue[tuple[int, Piece | Future[GenerationResult]]] = asyncio.Queue()
        post = self._poster(letters)
        async with AsyncExitStack() as stack:
            started = time.perf_counter()
            with self._counted(len(prompts) * sampling.num_answers):
                requests = await self._requests(prompts, sampling, caller)
                resident = await stack.enter_async_context(self._chosen(choice, caller=caller))
                answers = await stack.enter_async_context(self._answers(resident, requests, post))
            for number, answer in enumerate(answers):
                answer.add_done_callback(partial(post, number))
            done: dict[int, GenerationResult] = {}
            try:
                yield AnswerStream(
                    version=resident.version,
                    num_prompt_tokens=tuple(len(request.prompt_ids) for request in requests),
                    events=_events(letters, len(requests), done, pace=Pace(self._metrics, started=started)),
                )
            finally:
                ended = [answer.exception() for answer in answers if answer.done() and not answer.cancelled()]
                error = next((error for error in ended if error is not None), None)
                self._metrics.not_answered(_outcome(error), len(requests) - len(done))
                self._count(requests, done, time.perf_counter() - started, each=sampling.num_answers)

    async def score(
        self, prompts: Sequence[str], targets: Sequence[str], choice: Choice, *, caller: Caller
    ) -> TargetsScored:
        """Score each target after its prompt, all by one version."""
        deadline = time.monotonic() + caller.timeout_seconds
        pairs = await self.prompts.encoded_pairs(prompts, targets)
        requests = [
            ScoreRequest(prompt_ids=prompt, target_ids=target, client=caller.name, deadline=deadline)
            for prompt, target in pairs
        ]
        async with self._chosen(choice, caller=caller) as resident, self._answers(resident, requests) as answers:
            scores = await asyncio.gather(*map(asyncio.wrap_future, answers))
        return TargetsScored(version=resident.version, scores=tuple(scores))

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
    async def _chosen(self, choice: Choice, *, caller: Caller) -> AsyncIterator[Resident]:
        version, digest = choice.version, None
        try:
            async with asyncio.timeout(caller.timeout_seconds):
                if version is not None:
                    digest = await self._lineage.recorded_digest(version)
                if choice.min_version is not None:
                    version = await self._lineage.served_since(choice.min_version)
        except TimeoutError:
            words = "which version is to answer could not be found in time: ask for longer, or again later"
            raise AnswerLate(words) from None
        async with self._residents.lease(version, digest=digest) as resident:
            yield resident

    @asynccontextmanager
    async def _answers(
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

    def _poster(self, letters: asyncio.Queue[Any]) -> Callable[[int, Any], None]:
        """Puts what the decoding thread says into the queue, in the event loop of whoever asks now."""
        loop = asyncio.get_running_loop()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = Mailbox(loop)
        mailbox = self._mailbox
        return lambda number, said: mailbox.post(partial(letters.put_nowait, (number, said)))

    @contextmanager
    def _counted(self, num_answers: int) -> Iterator[None]:
        """Count the answers that are not given."""
        try:
            yield
        except asyncio.CancelledError:
            self._metrics.not_answered(_outcome(None), num_answers)
            raise
        except ErrataError as error:
            self._metrics.not_answered(_outcome(error), num_answers)
            raise

    def _count(
        self,
        requests: Sequence[GenerationRequest],
        results: Mapping[int, GenerationResult],
        seconds: float,
        *,
        each: int,
    ) -> None:
        """``each``: answers to one prompt, which is read for each and counted once, as an answer's usage does."""
        for number, result in results.items():
            self._metrics.answered(
                result.finish_reason,
                prompt_tokens=0 if number % each else len(requests[number].prompt_ids),
                completion_tokens=len(result.ids),
                seconds=seconds,
            )


def _outcome(error: BaseException | None) -> str:
    """What an answer that was not given is counted as; None: nobody waits for it any more."""
    if error is None:
        return "gone"
    is_refusal = isinstance(error, ErrataError) and not isinstance(error, GenerationFailed | NothingServed | AnswerLate)
    return "refused" if is_refusal else "failed"


async def _events(
    letters: asyncio.Queue[tuple[int, Piece | Future[GenerationResult]]],
    num_answers: int,
    done: dict[int, GenerationResult],
    *,
    pace: Pace,
) -> AsyncIterator[tuple[int, Piece | GenerationResult]]:
    while len(done) < num_answers:
        number, said = await letters.get()
        if isinstance(said, Piece):
            pace.note(number)
            yield number, said
        else:
            result = said.result()
            done[number] = result
            yield number, result
