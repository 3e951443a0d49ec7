"""Continues many requests with one version: a fixed number of places, one token for all of them in each step.

A request waits for its client's turn, takes a place, has its prompt read in chunks between the steps of those that
write, leaves at its end, and is dropped within one step when its client goes. Everything but ``submit`` and the counts
belongs to the one thread that steps. Knows no versions and no HTTP.
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
from typing import Any

import torch
from torch import Tensor, nn

from service.generation.decoding.choosing import Chooser
from service.generation.decoding.forward.cache import PlacesCache
from service.generation.decoding.forward.calls import Calls, Chunk
from service.generation.decoding.forward.captured import CapturedDecode, CudaGraphs
from service.generation.decoding.places import Places, next_chunk
from service.generation.decoding.requests import (
    Entry,
    GenerationRequest,
    Group,
    Piece,
    Running,
    ScoreRequest,
    Scoring,
)
from service.generation.decoding.text import AnswerText
from service.generation.decoding.waiting import WaitingList, displaced_error
from service.generation.errors import AnswerLate, GenerationFailed
from worker.protocol.logs import log_event

IDLE_PREFILL_TOKENS = 1024
"""Tokens, padding counted, of the prompts that are read in one step when nobody waits for a next token."""
SMALLEST_CHUNK = 32
"""Prompts that differ by less are read side by side."""

logger = logging.getLogger(__name__)


class DecodeEngine:
    """The decode loop of one version."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        num_places: int,
        max_length: int,
        max_waiting: int,
        prefill_tokens: int,
    ) -> None:
        self._num_places = num_places
        self._max_length = max_length
        self._prefill_tokens = prefill_tokens
        self._chooser = Chooser(model, tokenizer)
        self._cache = PlacesCache(max_places=num_places, max_length=max_length)
        self._calls = Calls(model, self._cache)
        self._steps: Calls | CapturedDecode = self._calls
        if (device := self._calls.device).type == "cuda":
            self._steps = CapturedDecode(self._calls, self._cache, new_capture=partial(CudaGraphs, device))
        self._places = Places(self._cache)
        self._waiting = WaitingList(max_waiting=max_waiting)
        self._lock = threading.Lock()
        """Guards the waiting list."""

    @property
    def num_waiting(self) -> int:
        """Requests without a place."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Requests in a place."""
        return len(self._places)

    @property
    def is_writing(self) -> bool:
        """Whether anyone waits for a next token."""
        return bool(self._places.writing)

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
        """Put one client's requests on the waiting list, all or none of them; from any thread.

        ``listener`` is told of each piece of text and the place of its request among these, in the decoding thread.
        The answers are ``GenerationResult`` or ``Score``. Raises TooManyWaiting, and RequestNotValid for more than
        could ever be held.
        """
        group = Group(is_whole=listener is None)
        entries = [self._entry(number, request, listener, group) for number, request in enumerate(requests)]
        assert all(request.prompt_ids for request in requests)
        assert all(entry.longest <= self._max_length for entry in entries)
        with self._lock:
            num_free = max(0, self._num_places - len(self._places))
            displaced = self._waiting.put(entries, num_free=num_free, num_places=self._num_places)
        for entry in displaced:
            entry.fail(displaced_error())
        return [entry.answer for entry in entries]

    def step(self, *, others_write: bool = False) -> None:
        """Drop who has gone, read on in the prompts of who came in, and give every place its next token.

        ``others_write``: somebody elsewhere waits for the end of this step, to get a next token.
        """
        with torch.inference_mode():
            self._drop_gone()
            if admitted := self._take_in():
                self._guarded(partial(self._places.admit, admitted), admitted)
            if self._places.reading:
                is_waited_for = others_write or bool(self._places.writing)
                self._guarded(partial(self._read, is_waited_for=is_waited_for), self._places.reading)
            if self._places.writing:
                self._guarded(self._decode, self._places.writing)
            if not len(self._places) and self._steps is self._calls:  # captured steps are of use to the next answers
                self._cache.clear()

    def abandon(self, error: Exception) -> None:
        """Answer every request with the error."""
        with self._lock:
            entries = [*self._places.everyone(), *(self._waiting.take() for _ in range(len(self._waiting)))]
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
            return Scoring(request=request, group=group)
        needs_text = listener is not None or bool(request.stop)
        return Running(
            request=request,
            group=group,
            listener=None if listener is None else partial(listener, number),
            text=AnswerText(self._chooser.text_of, request.stop) if needs_text else None,
        )

    def _guarded(self, work: Callable[[], None], entries: Sequence[Entry]) -> None:
        """Do the work; if it fails, end the requests that are in it and go on with the others."""
        affected = list(entries)
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- whatever a model raises, the others go on
            log_event(logger, "generation_step_failed", level=logging.ERROR, num_requests=len(affected))
            failure = GenerationFailed(
                f"a step of the model failed ({type(error).__name__}: {error}); other requests go on. "
                "Ask again; if it fails again, the service's log says more",
                retry_after_seconds=1,
            )
            for entry in affected:
                entry.fail(failure)
                if entry in self._places.everyone():
                    self._places.leave(entry)

    def _drop_gone(self) -> None:
        now = time.monotonic()

        def is_gone(entry: Entry) -> bool:
            deadline = entry.request.deadline
            if deadline is not None and now >= deadline:
                entry.fail(AnswerLate("the answer was not complete in time: ask for less, or again later"))
            return entry.answer.done()

        with self._lock:
            self._waiting.drop(is_gone)
        for entry in [entry for entry in self._places.everyone() if is_gone(entry)]:
            self._places.leave(entry)

    def _take_in(self) -> list[Entry]:
        with self._lock:
            num_free = self._num_places - len(self._places)
            return [self._waiting.take() for _ in range(min(num_free, len(self._waiting)))]

    def _read(self, *, is_waited_for: bool) -> None:
        """Read the next chunk of each prompt; of those that are read to their end, choose the first token."""
        entries = list(self._places.reading)
        budget = self._prefill_tokens if is_waited_for else IDLE_PREFILL_TOKENS
        left = [len(entry.to_read) - entry.num_read for entry in entries]
        size = max(1, min(budget // len(entries), max(SMALLEST_CHUNK, min(left))))
        chunks = [next_chunk(entry, size) for entry in entries]
        found = self._calls.read(chunks, first=len(self._places.writing))
        for entry, chunk in zip(entries, chunks, strict=True):  # of all, before anyone changes places
            entry.num_read += len(chunk.ids)
        begun: list[Running] = []
        logits: list[Tensor] = []
        for entry, chunk, logits_KV in zip(entries, chunks, found, strict=True):
            is_read = entry.num_read == len(entry.to_read)
            if isinstance(entry, Scoring):
                self._score(entry, chunk, logits_KV)
            elif isinstance(entry, Running) and is_read:
                self._places.begin_writing(entry)
                begun.append(entry)
                logits.append(logits_KV)
        if begun:
            self._choose(begun, torch.cat(logits))

    def _score(self, entry: Scoring, chunk: Chunk, logits_KV: Tensor) -> None:
        num_before = len(entry.found.logprobs)
        try:
            if chunk.wanted:
                entry.found.take(logits_KV, entry.request.target_ids[num_before : num_before + len(chunk.wanted)])
        except GenerationFailed as error:
            entry.fail(error)
            self._places.leave(entry)
            return
        if entry.num_read == len(entry.to_read):
            entry.finish(entry.found.whole())
            self._places.leave(entry)

    def _decode(self) -> None:
        """Feed every place that writes its last token and choose the next."""
        writing = list(self._places.writing)
        logits_NV = self._steps.decode([entry.ids[-1] for entry in writing], [entry.length - 1 for entry in writing])
        self._choose(writing, logits_NV)

    def _choose(self, entries: Sequence[Running], logits_NV: Tensor) -> None:
        for entry in self._chooser.take(entries, logits_NV):
            self._places.leave(entry)
