"""Continues many requests with one version: a fixed number of places, one token for all of them in each step.

A request waits in order of arrival, takes a place, leaves it at its end, and is dropped within one step when its client
goes. Everything but ``submit`` and the counts belongs to the one thread that steps. Knows no versions and no HTTP.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: N places used, R prompts of a prefill, T tokens of the longest of them, L positions looked at, V vocabulary.

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from editing_core.models.blocks import additive_mask, causal_mask
from service.generation.decoding.cache import PlacesCache, PromptWindow, StepWindow
from service.generation.decoding.requests import (
    Answer,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    Running,
)
from service.generation.decoding.sampling import greedy_tokens, sampled_token
from service.generation.errors import GenerationFailed, RequestNotValid, TooManyWaiting
from worker.protocol.logs import log_event

MAX_PREFILL_TOKENS = 2048
"""Tokens, padding counted, of the prompts that are read in one step: what running requests wait for at most."""

logger = logging.getLogger(__name__)


class DecodeEngine:
    """The decode loop of one version."""

    def __init__(self, model: nn.Module, tokenizer: Any, *, num_places: int, max_length: int, max_waiting: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._num_places = num_places
        self._max_waiting = max_waiting
        self._max_length = max_length
        self._end_ids = end_token_ids(model, tokenizer)
        weight = next(model.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self._cache = PlacesCache(max_places=num_places, max_length=max_length)
        self._waiting: deque[Running] = deque()
        self._running: list[Running] = []
        self._lock = threading.Lock()
        """Guards the waiting list."""

    @property
    def num_waiting(self) -> int:
        """Requests without a place."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Requests in a place."""
        return len(self._running)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting or self._running)

    def submit(self, requests: Sequence[GenerationRequest]) -> list[Answer]:
        """Put the requests at the end of the waiting list, all or none of them; from any thread.

        Raises TooManyWaiting, and RequestNotValid for more than could ever be held.
        """
        entries = [Running(request=request) for request in requests]
        assert all(request.prompt_ids and request.max_new_tokens > 0 for request in requests)
        assert all(entry.longest <= self._max_length for entry in entries)
        with self._lock:
            if len(entries) > self._max_waiting + self._num_places:
                raise RequestNotValid(
                    f"{len(entries)} prompts at once; this service holds {self._max_waiting + self._num_places}: "
                    "send fewer at a time",
                    loc=("prompt",),
                )
            free = max(0, self._num_places - len(self._running))
            if len(self._waiting) + len(entries) > self._max_waiting + free:
                raise TooManyWaiting(
                    f"{len(self._waiting)} requests are waiting for a place, and {self._max_waiting} may wait: "
                    "ask again a little later",
                    retry_after_seconds=1,
                )
            self._waiting.extend(entries)
        return [entry.answer for entry in entries]

    def step(self) -> None:
        """Drop who has gone, read the prompts of who comes in, and give every place its next token."""
        with torch.inference_mode():
            self._drop_gone()
            if admitted := self._admit():
                self._guarded(lambda: self._prefill(admitted), admitted)
            if self._running:
                self._guarded(self._decode, self._running)
            elif self._cache.size_bytes:
                self._cache.clear()

    def abandon(self, error: Exception) -> None:
        """Answer every request with the error."""
        with self._lock:
            entries = [*self._running, *self._waiting]
            self._waiting.clear()
        self._running = []
        for entry in entries:
            entry.fail(error)

    def _guarded(self, work: Callable[[], None], entries: Sequence[Running]) -> None:
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
            self._leave([i for i, entry in enumerate(self._running) if entry in affected])

    def _drop_gone(self) -> None:
        with self._lock:
            if any(entry.answer.cancelled() for entry in self._waiting):
                self._waiting = deque(entry for entry in self._waiting if not entry.answer.cancelled())
        self._leave([i for i, entry in enumerate(self._running) if entry.answer.cancelled()])

    def _admit(self) -> list[Running]:
        """Take from the head of the waiting list what has a place and fits into one prefill."""
        admitted: list[Running] = []
        longest = 0
        with self._lock:
            while self._waiting and len(self._running) + len(admitted) < self._num_places:
                longest = max(longest, len(self._waiting[0].request.prompt_ids))
                if admitted and longest * (len(admitted) + 1) > MAX_PREFILL_TOKENS:
                    break
                admitted.append(self._waiting.popleft())
        return admitted

    def _prefill(self, admitted: Sequence[Running]) -> None:
        """Read whole prompts, padded on the right, into the next places, and choose the first tokens."""
        first = len(self._running)
        self._cache.reserve(num_places=first + len(admitted), length=max(entry.longest for entry in admitted))
        lengths = [len(entry.request.prompt_ids) for entry in admitted]
        num_tokens = max(lengths)
        rows = [
            [*entry.request.prompt_ids] + [0] * (num_tokens - n) for entry, n in zip(admitted, lengths, strict=True)
        ]
        lengths_R = torch.tensor(lengths, device=self._device)
        last, which_R = torch.unique(lengths_R - 1, return_inverse=True)
        logits = self._model(
            input_ids=torch.tensor(rows, device=self._device),
            attention_mask=causal_mask(lengths_R, num_tokens, self._dtype),
            position_ids=torch.arange(num_tokens, device=self._device).expand(len(rows), -1),
            past_key_values=PromptWindow(self._cache, first=first),
            use_cache=True,
            logits_to_keep=last,
        ).logits
        self._running.extend(admitted)
        self._take_tokens(logits[torch.arange(len(rows), device=self._device), which_R], first=first)

    def _decode(self) -> None:
        """Feed every place its last token and choose the next."""
        positions_N = torch.tensor([entry.length - 1 for entry in self._running], device=self._device)
        length = max(entry.length for entry in self._running)
        seen_NL = torch.arange(length, device=self._device)[None, :] <= positions_N[:, None]
        logits_NV = self._model(
            input_ids=torch.tensor([[entry.ids[-1]] for entry in self._running], device=self._device),
            attention_mask=additive_mask(seen_NL[:, None, None, :], self._dtype),
            position_ids=positions_N[:, None],
            past_key_values=StepWindow(self._cache, positions_N, length=length),
            use_cache=True,
        ).logits[:, -1]
        self._take_tokens(logits_NV, first=0)

    def _take_tokens(self, logits: Tensor, *, first: int) -> None:
        """Give the places from ``first`` on their next tokens; those that are done answer and leave."""
        best, finite = greedy_tokens(logits)
        done = []
        for row, entry in enumerate(self._running[first:]):
            if not finite[row]:
                entry.fail(GenerationFailed("the model's logits are no numbers: this version cannot answer the prompt"))
                done.append(first + row)
                continue
            token = best[row] if entry.generator is None else _drawn(logits[row], entry, entry.generator)
            reason = self._take(entry, token)
            if reason is not None:
                text = self._tokenizer.decode(entry.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                entry.finish(GenerationResult(ids=tuple(entry.ids), text=text, finish_reason=reason))
                done.append(first + row)
        self._leave(done)

    def _take(self, entry: Running, token: int) -> FinishReason | None:
        if token in self._end_ids:
            return "stop"
        entry.ids.append(token)
        return "length" if len(entry.ids) >= entry.request.max_new_tokens else None

    def _leave(self, places: Sequence[int]) -> None:
        """Free the places, moving the last used one into each hole."""
        for place in sorted(places, reverse=True):
            entry = self._running.pop()
            if place < len(self._running):
                self._cache.move(len(self._running), place, length=entry.length)
                self._running[place] = entry


def end_token_ids(model: nn.Module, tokenizer: Any) -> frozenset[int]:
    """The tokens after which an answer ends: the model's own and the tokenizer's."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(item) for item in (*listed, tokenizer.eos_token_id) if item is not None)


def _drawn(logits_V: Tensor, entry: Running, generator: torch.Generator) -> int:
    request = entry.request
    return sampled_token(logits_V, temperature=request.temperature, top_p=request.top_p, generator=generator)
