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
from service.generation.decoding.requests import GenerationRequest, Piece, ScoreRequest
from service.generation.errors import AnswerLate, GenerationFailed, NothingServed
from service.generation.loop_bridge import Mailbox
from service.generation.metrics import GenerationMetrics
from service.generation.prompts import Prompt, Prompts
from service.generation.questions import AnswerStream, Caller, Choice, Continuations, Sampling, TargetsScored
from service.generation.stream_events import Finished, Letters, ends_of
from service.generation.stream_timing import Pace
from service.generation.versions.loading import Resident
from service.generation.versions.min_version import Lineage
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
                ends = ends_of(answers)
                results = await asyncio.gather(*map(asyncio.wrap_future, answers))
        finished = {number: Finished(result, ends[number]) for number, result in enumerate(results)}
        self._count(requests, finished, started=started, each=sampling.num_answers)
        return Continuations(
            version=resident.version,
            results=tuple(results),
            num_prompt_tokens=tuple(len(request.prompt_ids) for request in requests),
        )

    @asynccontextmanager
    async def stream(
        self, prompts: Sequence[Prompt], sampling: Sampling, choice: Choice, *, caller: Caller
    ) -> AsyncIterator[AnswerStream]:
        """The same, piece by piece; leaving the context frees the places.

        The version is held until the last answer is made, however slowly the answers are read.
        """
        async with AsyncExitStack() as held:
            started = time.perf_counter()
            with self._counted(len(prompts) * sampling.num_answers):
                requests = await self._requests(prompts, sampling, caller)
                resident = await held.enter_async_context(self._chosen(choice, caller=caller))
                letters = Letters(self._mail(), len(requests), pace=Pace(self._metrics, started=started))
                answers = await held.enter_async_context(self._answers(resident, requests, letters.post))
            version = resident.version
            del resident
            for number, answer in enumerate(answers):
                answer.add_done_callback(partial(letters.post, number))
            letting_go = asyncio.create_task(_let_go(held, letters))
            try:
                yield AnswerStream(
                    version=version,
                    num_prompt_tokens=tuple(len(request.prompt_ids) for request in requests),
                    events=letters.events(),
                )
            finally:
                letting_go.cancel()
                self._count_read(requests, letters, started=started, each=sampling.num_answers)

    async def score(
        self, prompts: Sequence[str], targets: Sequence[str], choice: Choice, *, caller: Caller
    ) -> TargetsScored:
        """Score each target after its prompt, all by one version."""
        with self._counted(len(targets), as_scores=True):
            deadline = time.monotonic() + caller.timeout_seconds
            pairs = await self.prompts.encoded_pairs(prompts, targets)
            requests = [
                ScoreRequest(prompt_ids=prompt, target_ids=target, client=caller.name, deadline=deadline)
                for prompt, target in pairs
            ]
            async with self._chosen(choice, caller=caller) as resident, self._answers(resident, requests) as answers:
                scores = await asyncio.gather(*map(asyncio.wrap_future, answers))
        self._metrics.scored(len(scores), num_tokens=sum(len(prompt) + len(target) for prompt, target in pairs))
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
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(caller.timeout_seconds):
                    if version is not None:
                        digest = await self._lineage.recorded_digest(version)
                    if choice.min_version is not None:
                        version = await self._lineage.served_since(choice.min_version)
                    resident = await held.enter_async_context(self._residents.lease(version, digest=digest))
            except TimeoutError:
                words = "the version that is to answer was not found or loaded in time: ask for longer, or again later"
                raise AnswerLate(words) from None
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

    def _mail(self) -> Mailbox:
        """Of the event loop of whoever asks now."""
        loop = asyncio.get_running_loop()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = Mailbox(loop)
        return self._mailbox

    @contextmanager
    def _counted(self, num_answers: int, *, as_scores: bool = False) -> Iterator[None]:
        """Count the answers, or scores, that are not given."""
        count = self._metrics.not_scored if as_scores else self._metrics.not_answered
        try:
            yield
        except asyncio.CancelledError:
            count(_outcome(None), num_answers)
            raise
        except Exception as error:
            count(_outcome(error), num_answers)
            raise

    def _count_read(
        self, requests: Sequence[GenerationRequest], letters: Letters, *, started: float, each: int
    ) -> None:
        self._count(requests, letters.read, started=started, each=each)
        for error in letters.failed.values():
            self._metrics.not_answered(_outcome(error), 1)
        # A reader who stops at the first failure has not gone.
        failure = next(iter(letters.failed.values()), None)
        self._metrics.not_answered(_outcome(failure), len(requests) - len(letters.read) - len(letters.failed))

    def _count(
        self,
        requests: Sequence[GenerationRequest],
        finished: Mapping[int, Finished],
        *,
        started: float,
        each: int,
    ) -> None:
        """``each``: answers to one prompt, which is read for each and counted once, as an answer's usage does."""
        for number, end in finished.items():
            self._metrics.answered(
                end.result.finish_reason,
                prompt_tokens=0 if number % each else len(requests[number].prompt_ids),
                completion_tokens=len(end.result.ids),
                seconds=end.at - started,
            )


async def _let_go(held: AsyncExitStack, letters: Letters) -> None:
    """Close what is held when the last answer is made."""
    await letters.all_made.wait()
    await held.aclose()


def _outcome(error: BaseException | None) -> str:
    """What an answer that was not given is counted as; None: nobody waits for it any more."""
    if error is None:
        return "gone"
    is_refusal = isinstance(error, ErrataError) and not isinstance(error, GenerationFailed | NothingServed | AnswerLate)
    return "refused" if is_refusal else "failed"
