"""Engines over tiny models, and requests of different lengths for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from service.generation.decoding.engine import DecodeEngine, DecodeSteps
from service.generation.decoding.forward.cache import PlacesCache
from service.generation.decoding.forward.calls import Calls
from service.generation.decoding.forward.captured import Capture, CapturedDecode
from service.generation.decoding.requests import GenerationRequest, GenerationResult
from tests.support.generation import PROMPTS
from tests.support.tiny_models import NUM_POSITIONS, tiny_tokenizer

WAIT_SECONDS = 60


def engine_of(
    model: Any,
    *,
    num_places: int = 4,
    max_waiting: int = 32,
    prefill_tokens: int = 64,
    steps: Callable[[Calls, PlacesCache], DecodeSteps] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> DecodeEngine:
    return DecodeEngine(
        model,
        tiny_tokenizer(),
        num_places=num_places,
        max_length=NUM_POSITIONS,
        max_waiting=max_waiting,
        prefill_tokens=prefill_tokens,
        steps=steps,
        clock=clock,
    )


class BothWays:
    """Captured decode steps; while ``is_comparing``, each step is also called plainly and both results are kept."""

    def __init__(self, calls: Calls, captured: CapturedDecode) -> None:
        self._calls = calls
        self._captured = captured
        self.is_comparing = False
        self.found: list[tuple[Tensor, Tensor]] = []

    def decode(self, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        logits = self._captured.decode(ids, positions)
        if self.is_comparing:
            logits = logits.clone()
            self.found.append((logits.float(), self._calls.decode(ids, positions).float()))
        return logits


def logits_both_ways(
    model: Any, asked: Sequence[GenerationRequest], *, num_places: int, new_capture: Callable[[], Capture]
) -> tuple[Tensor, Tensor]:
    """The logits of the step after the first eight of these requests: as captured, and called plainly."""
    made: list[BothWays] = []

    def steps(calls: Calls, cache: PlacesCache) -> DecodeSteps:
        made.append(BothWays(calls, CapturedDecode(calls, cache, new_capture=new_capture)))
        return made[0]

    engine = engine_of(model, num_places=num_places, steps=steps)
    engine.submit(asked)
    for _ in range(8):
        engine.step()
    made[0].is_comparing = True
    engine.step()
    [both] = made[0].found
    return both


def requests(**options: Any) -> list[GenerationRequest]:
    """Eight, of different prompt and answer lengths."""
    tokenizer = tiny_tokenizer()
    return [
        GenerationRequest(prompt_ids=tuple(tokenizer(prompt)["input_ids"]), max_new_tokens=5 + 3 * i, **options)
        for i, prompt in enumerate(PROMPTS)
    ]


def run_all(engine: DecodeEngine, asked: list[GenerationRequest]) -> list[GenerationResult]:
    answers = engine.submit(asked)
    while engine.busy:
        engine.step()
    return [answer.result(0) for answer in answers]
