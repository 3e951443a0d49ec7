"""Answers many requests with one version: a fixed number of places, one token for each of them per step.

A request waits for its client's turn, takes a place, has its prompt prefilled in chunks between the steps of the
requests that decode, and leaves its place when its answer is complete. A request whose client disconnects is dropped
within one step. Only ``submit`` and the counts may be used outside of the decoding thread.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: N rows, K wanted positions, V vocabulary.

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from service.generation.decoding.forward.cache import PlacesCache
from service.generation.decoding.forward.calls import Calls, Chunk
from service.generation.decoding.forward.captured import CapturedDecode, CudaGraphs
from service.generation.decoding.places import Places, next_chunk
from service.generation.decoding.requests import (
    Entry,
    GenerationEntry,
    GenerationRequest,
    Group,
    Piece,
    ScoreEntry,
    ScoreRequest,
)
from service.generation.decoding.text import AnswerText
from service.generation.decoding.token_selector import TokenSelector
from service.generation.decoding.waiting import WaitingList, displaced_error
from service.generation.errors import AnswerLate, GenerationFailed
from worker.protocol.logs import log_event

IDLE_PREFILL_TOKENS = 1024
"""Prompt tokens, padding included, that one step reads while no request waits for its next token."""
SMALLEST_CHUNK = 32
"""Prompts whose remaining lengths differ by less than this are read together."""

logger = logging.getLogger(__name__)


class DecodeSteps(Protocol):
    """Computes the decode steps: ``Calls`` or ``CapturedDecode``."""

    def decode(self, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Feed the first places their last tokens, at ``positions``. Returns the logits [N, V] after them."""
        ...


class DecodeEngine:
    """Decodes with one version's model."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        num_places: int,
        max_length: int,
        max_waiting: int,
        prefill_tokens: int,
        steps: Callable[[Calls, PlacesCache], DecodeSteps] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``steps`` creates the object that computes the decode steps. Default: CUDA graphs on a GPU, else plain calls.

        ``clock``: the clock of the requests' deadlines.
        """
        self._num_places = num_places
        self._max_length = max_length
        self._prefill_tokens = prefill_tokens
        self._clock = clock
        self._selector = TokenSelector(model, tokenizer)
        self._cache = PlacesCache(max_places=num_places, max_length=max_length)
        self._calls = Calls(model, self._cache)
        self._steps = (steps or _default_steps)(self._calls, self._cache)
        self._places = Places(self._cache)
        self._waiting = WaitingList(max_waiting=max_waiting)
        self._lock = threading.Lock()
        """Guards the waiting list."""

    @property
    def num_waiting(self) -> int:
        """The number of requests without a place."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """The number of requests that have a place."""
        return len(self._places)

    @property
    def cache_bytes(self) -> int:
        """The memory that the cached keys and values take now."""
        return self._cache.size_bytes

    @property
    def is_decoding(self) -> bool:
        """Whether any request waits for its next token."""
        return bool(self._places.decoding)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(len(self._waiting) or len(self._places))

    def submit(
        self,
        requests: Sequence[GenerationRequest | ScoreRequest],
        *,
        listener: Callable[[int, Piece], None] | None = None,
    ) -> list[Future[Any]]:
        """Add one client's requests to the waiting list, all or none; from any thread.

        The decoding thread calls ``listener`` with each piece of text and the index of its request among these.
        The futures yield ``GenerationResult`` or ``Score``. Raises TooManyWaiting, and RequestNotValid for more
        requests than the service can ever hold.
        """
        group = Group(all_or_none=listener is None)
        entries = [self._entry(number, request, listener, group) for number, request in enumerate(requests)]
        assert all(request.prompt_ids for request in requests)
        assert all(entry.max_positions <= self._max_length for entry in entries)
        with self._lock:
            num_free = max(0, self._num_places - len(self._places))
            displaced = self._waiting.put(entries, num_free=num_free, num_places=self._num_places)
        for entry in displaced:
            entry.fail(displaced_error())
        return [entry.answer for entry in entries]

    def step(self, *, others_decode: bool = False) -> None:
        """Drop requests that have ended, prefill the next chunks, and give each decoding request its next token.

        ``others_decode``: another engine's requests wait for the end of this step before they get their next tokens.
        """
        with torch.inference_mode():
            self._drop_finished()
            if admitted := self._take_waiting():
                self._run_isolated(partial(self._places.admit, admitted), admitted)
            if self._places.prefilling:
                is_waited_for = others_decode or bool(self._places.decoding)
                self._run_isolated(partial(self._prefill, is_waited_for=is_waited_for), self._places.prefilling)
            if self._places.decoding:
                self._run_isolated(self._decode, self._places.decoding)
            if not len(self._places) and self._steps is self._calls:  # captured steps serve the next answers too
                self._cache.clear()

    def fail_all(self, error: Exception) -> None:
        """End every request with the error."""
        with self._lock:
            entries = [*self._places.entries(), *(self._waiting.take() for _ in range(len(self._waiting)))]
        self._places = Places(self._cache)
        for entry in entries:
            entry.fail(error)

    def _entry(
        self,
        number: int,
        request: GenerationRequest | ScoreRequest,
        listener: Callable[[int, Piece], None] | None,
        group: Group,
    ) -> Entry:
        if isinstance(request, ScoreRequest):
            return ScoreEntry(request=request, group=group)
        needs_text = listener is not None or bool(request.stop)
        return GenerationEntry(
            request=request,
            group=group,
            listener=None if listener is None else partial(listener, number),
            text=AnswerText(self._selector.text_of, request.stop) if needs_text else None,
        )

    def _run_isolated(self, work: Callable[[], None], entries: Sequence[Entry]) -> None:
        """Do the work; if it fails, end the requests that are part of it and keep the others."""
        affected = list(entries)
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- a model may raise anything, and other requests must continue
            log_event(logger, "generation_step_failed", level=logging.ERROR, num_requests=len(affected))
            failure = GenerationFailed(
                f"a step of the model failed ({type(error).__name__}: {error}); other requests go on. "
                "Ask again; if it fails again, see the service's log",
                retry_after_seconds=1,
            )
            for entry in affected:
                entry.fail(failure)
                if entry in self._places.entries():
                    self._places.leave(entry)

    def _drop_finished(self) -> None:
        now = self._clock()

        def is_finished(entry: Entry) -> bool:
            deadline = entry.request.deadline
            if deadline is not None and now >= deadline:
                entry.fail(AnswerLate("the answer was not complete in time: ask for fewer tokens, or try again later"))
            return entry.answer.done()

        with self._lock:
            self._waiting.drop(is_finished)
        for entry in [entry for entry in self._places.entries() if is_finished(entry)]:
            self._places.leave(entry)

    def _take_waiting(self) -> list[Entry]:
        with self._lock:
            num_free = self._num_places - len(self._places)
            return [self._waiting.take() for _ in range(min(num_free, len(self._waiting)))]

    def _prefill(self, *, is_waited_for: bool) -> None:
        """Read the next chunk of each prompt, and select the first token after prompts that are read to their end."""
        entries = list(self._places.prefilling)
        budget = self._prefill_tokens if is_waited_for else IDLE_PREFILL_TOKENS
        left = [len(entry.prefill_ids) - entry.num_prefilled for entry in entries]
        size = max(1, min(budget // len(entries), max(SMALLEST_CHUNK, min(left))))
        chunks = [next_chunk(entry, size) for entry in entries]
        found = self._calls.prefill(chunks, first=len(self._places.decoding))
        for entry, chunk in zip(entries, chunks, strict=True):  # update all of them before any changes its place
            entry.num_prefilled += len(chunk.ids)
        started: list[GenerationEntry] = []
        logits: list[Tensor] = []
        for entry, chunk, logits_KV in zip(entries, chunks, found, strict=True):
            is_complete = entry.num_prefilled == len(entry.prefill_ids)
            if isinstance(entry, ScoreEntry):
                self._score(entry, chunk, logits_KV)
            elif isinstance(entry, GenerationEntry) and is_complete:
                self._places.begin_decoding(entry)
                started.append(entry)
                logits.append(logits_KV)
        if started:
            self._select(started, torch.cat(logits))

    def _score(self, entry: ScoreEntry, chunk: Chunk, logits_KV: Tensor) -> None:
        num_before = len(entry.accumulator.logprobs)
        try:
            if chunk.wanted:
                entry.accumulator.add(logits_KV, entry.request.target_ids[num_before : num_before + len(chunk.wanted)])
        except GenerationFailed as error:
            entry.fail(error)
            self._places.leave(entry)
            return
        if entry.num_prefilled == len(entry.prefill_ids):
            entry.finish(entry.accumulator.result())
            self._places.leave(entry)

    def _decode(self) -> None:
        """Feed every decoding place its last token and select the next."""
        decoding = list(self._places.decoding)
        logits_NV = self._steps.decode([entry.ids[-1] for entry in decoding], [entry.length - 1 for entry in decoding])
        self._select(decoding, logits_NV)

    def _select(self, entries: Sequence[GenerationEntry], logits_NV: Tensor) -> None:
        for entry in self._selector.select(entries, logits_NV):
            self._places.leave(entry)


def _default_steps(calls: Calls, cache: PlacesCache) -> DecodeSteps:
    if calls.device.type == "cuda":
        return CapturedDecode(calls, cache, new_capture=partial(CudaGraphs, calls.device))
    return calls
