"""Engines over tiny models, and requests of different lengths for them."""

from __future__ import annotations

from typing import Any

from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.requests import GenerationRequest, GenerationResult
from tests.support.generation import PROMPTS
from tests.support.tiny_models import NUM_POSITIONS, tiny_tokenizer

WAIT_SECONDS = 60


def engine_of(model: Any, *, num_places: int = 4, max_waiting: int = 32) -> DecodeEngine:
    return DecodeEngine(
        model, tiny_tokenizer(), num_places=num_places, max_length=NUM_POSITIONS, max_waiting=max_waiting
    )


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
