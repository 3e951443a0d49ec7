"""Engines over tiny models, and requests of different lengths for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.captured import CapturedDecode
from service.generation.decoding.loop import DecodeLoop
from service.generation.decoding.requests import GenerationRequest, GenerationResult
from tests.support.generation import PROMPTS
from tests.support.tiny_models import NUM_POSITIONS, tiny_tokenizer

WAIT_SECONDS = 60


def engine_of(model: Any, *, num_places: int = 4, max_waiting: int = 32, prefill_tokens: int = 64) -> DecodeEngine:
    return DecodeEngine(
        model,
        tiny_tokenizer(),
        num_places=num_places,
        max_length=NUM_POSITIONS,
        max_waiting=max_waiting,
        prefill_tokens=prefill_tokens,
    )


def logits_both_ways(engine: DecodeEngine, asked: Sequence[GenerationRequest]) -> tuple[Tensor, Tensor]:
    """Of the step after the first eight of these requests: as captured, and called plainly."""
    engine.submit(asked)
    with torch.inference_mode():
        for _ in range(8):
            engine.step()
        writing = engine._places.writing
        ids, positions = [entry.ids[-1] for entry in writing], [entry.length - 1 for entry in writing]
        steps = engine._steps
        assert isinstance(steps, CapturedDecode)
        captured = steps.decode(ids, positions).clone()
        return captured.float(), engine._calls.decode(ids, positions).float()


@contextmanager
def held(loop: DecodeLoop) -> Iterator[None]:
    """While open, the decoding thread waits between two steps."""
    gate = _Gate()
    loop.add(gate)  # type: ignore[arg-type]
    with loop._changed:
        loop._changed.notify()
    assert gate.entered.wait(WAIT_SECONDS)
    try:
        yield
    finally:
        gate.busy = False
        gate.go_on.set()


class _Gate:
    """Takes the decoding thread's turn and keeps it."""

    num_running = num_waiting = 0
    is_writing = False

    def __init__(self) -> None:
        self.busy = True
        self.entered, self.go_on = threading.Event(), threading.Event()

    def step(self, *, others_write: bool) -> None:
        self.entered.set()
        self.go_on.wait(WAIT_SECONDS)

    def abandon(self, error: Exception) -> None:
        self.go_on.set()


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
