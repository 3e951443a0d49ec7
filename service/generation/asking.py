"""From texts to answers: tokens, the version that answers, its places, and the counts. Knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from editing_core.errors import ErrataError
from editing_core.memit.tokens import target_ids
from editing_core.models.load import LoadedModel
from service.generation.decoding.loop import DecodeLoop
from service.generation.decoding.requests import GenerationRequest, GenerationResult
from service.generation.decoding.score import Score, score
from service.generation.errors import GenerationFailed, NothingServed, PromptTooLong, RequestNotValid
from service.generation.lineage import Lineage
from service.generation.metrics import GenerationMetrics
from service.generation.resident import Resident, ResidentVersions

T = TypeVar("T")
TOKENIZING_THREADS = 2
SHRINKING = 4
"""How many characters a tokenizer's normaliser may at most make one of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which version is to answer; the live one when neither is given."""

    version: str | None = None
    min_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a prompt is to be continued."""

    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """The answers to some prompts, by one version."""

    version: str
    results: tuple[GenerationResult, ...]
    num_prompt_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScored:
    """A score and who gave it."""

    version: str
    score: Score
    top: tuple[tuple[str, float], ...]
    """The likeliest first tokens as text, with their probabilities."""


class Asker:
    """Asks the resident versions; cancelling a call frees its places within one step."""

    def __init__(
        self,
        loaded: LoadedModel,
        residents: ResidentVersions,
        loop: DecodeLoop,
        *,
        lineage: Lineage,
        metrics: GenerationMetrics,
        max_new_tokens: int,
    ) -> None:
        self._tokenizer = loaded.tokenizer
        self._max_positions = loaded.max_positions
        self._longest_token = max(map(len, loaded.tokenizer.get_vocab()))
        self._residents = residents
        self._loop = loop
        self._lineage = lineage
        self._metrics = metrics
        self._max_new_tokens = max_new_tokens
        self._tokenizing = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="errata-tokenize")
        """Its own threads: those of the event loop may all wait for a Redis that hangs."""

    def close(self) -> None:
        """End the threads."""
        self._tokenizing.shutdown(wait=False, cancel_futures=True)

    async def generate(self, prompts: Sequence[str], sampling: Sampling, choice: Choice) -> Continuations:
        """Continue all prompts with one version.

        Raises RequestNotValid, PromptTooLong, TooManyWaiting, GenerationFailed, NotFound, VersionUnavailable.
        """
        started = time.perf_counter()
        try:
            done = await self._generate(prompts, sampling, choice)
        except asyncio.CancelledError:
            self._metrics.not_answered("gone", len(prompts))
            raise
        except (GenerationFailed, NothingServed):
            self._metrics.not_answered("failed", len(prompts))
            raise
        except ErrataError:
            self._metrics.not_answered("refused", len(prompts))
            raise
        seconds = time.perf_counter() - started
        for result, num_tokens in zip(done.results, done.num_prompt_tokens, strict=True):
            outcome, written = result.finish_reason, len(result.ids)
            self._metrics.answered(outcome, prompt_tokens=num_tokens, completion_tokens=written, seconds=seconds)
        return done

    async def score(self, prompt: str, target: str, choice: Choice) -> TargetScored:
        """Score the target after the prompt. Raises what ``generate`` raises."""
        [ids] = await self._encoded([prompt])
        wanted = await self._in_thread(lambda: self._target_ids(prompt, target))
        if len(ids) + len(wanted) > self._max_positions:
            raise PromptTooLong(
                f"prompt and target have {len(ids) + len(wanted)} tokens; the model takes {self._max_positions}: "
                "shorten the prompt",
                loc=("prompt",),
            )
        async with self._chosen(choice) as resident:
            future = self._loop.call(lambda: score(resident.model, ids, wanted))
            found = await asyncio.wrap_future(future)
        top = tuple((self._tokenizer.decode([token]), probability) for token, probability in found.top)
        return TargetScored(version=resident.version, score=found, top=top)

    async def _generate(self, prompts: Sequence[str], sampling: Sampling, choice: Choice) -> Continuations:
        if sampling.max_new_tokens > self._max_new_tokens:
            raise RequestNotValid(
                f"max_new_tokens is {sampling.max_new_tokens}; this service writes up to {self._max_new_tokens}",
                loc=("max_new_tokens",),
            )
        rows = await self._encoded(prompts)
        async with self._chosen(choice) as resident:
            answers = self._loop.submit(resident.engine, [self._request(row, sampling) for row in rows])
            try:
                results = await asyncio.gather(*map(asyncio.wrap_future, answers))
            finally:
                for answer in answers:
                    answer.cancel()
        return Continuations(version=resident.version, results=tuple(results), num_prompt_tokens=tuple(map(len, rows)))

    async def _encoded(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, with room for at least one token more in the context."""
        return await self._in_thread(lambda: [self._encode_one(prompt) for prompt in prompts])

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, work)

    @asynccontextmanager
    async def _chosen(self, choice: Choice) -> AsyncIterator[Resident]:
        version, digest = choice.version, None
        if version is not None:
            digest = await self._lineage.published_digest(version)
        if choice.min_version is not None:
            version = await self._lineage.served_since(choice.min_version)
        async with self._residents.lease(version, digest=digest) as resident:
            yield resident

    def _request(self, ids: Sequence[int], sampling: Sampling) -> GenerationRequest:
        return GenerationRequest(
            prompt_ids=tuple(ids),
            max_new_tokens=min(sampling.max_new_tokens, self._max_positions - len(ids)),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
        )

    def _is_hopeless(self, text: str) -> bool:
        """Longer than any text that fits: refused without tokenising it."""
        return len(text) > self._max_positions * self._longest_token * SHRINKING

    def _target_ids(self, prompt: str, target: str) -> list[int]:
        if self._is_hopeless(target):
            raise PromptTooLong(
                f"the target has {len(target)} characters; the model takes {self._max_positions} tokens: shorten it",
                loc=("target",),
            )
        return target_ids(self._tokenizer, prompt, target)

    def _encode_one(self, prompt: str) -> list[int]:
        limit = self._max_positions - 1
        hopeless = self._is_hopeless(prompt)
        ids: list[int] = [] if hopeless else self._tokenizer(prompt, verbose=False)["input_ids"]
        if hopeless or len(ids) > limit:
            size = f"{len(prompt)} characters" if hopeless else f"{len(ids)} tokens"
            raise PromptTooLong(
                f"the prompt has {size}; the model takes {self._max_positions} tokens, of which at least one is "
                "written: shorten the prompt",
                loc=("prompt",),
            )
        if not ids:
            raise RequestNotValid("the prompt has no tokens: give some text to go on from", loc=("prompt",))
        return ids
