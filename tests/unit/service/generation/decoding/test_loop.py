"""The loop tells how long running answers stood still."""

from __future__ import annotations

import time

from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.loop import DecodeLoop
from service.generation.decoding.requests import GenerationRequest, Piece
from tests.support.tiny_loaded import tiny_loaded

HELD_SECONDS = 0.2


def test_the_longest_pause_between_two_steps_is_told_once() -> None:
    loaded = tiny_loaded("gptj")
    engine = DecodeEngine(loaded.model, loaded.tokenizer, num_places=1, max_length=64, max_waiting=4, prefill_tokens=64)
    loop = DecodeLoop()
    loop.add(engine)
    loop.start()

    def hold(_number: int, _piece: Piece) -> None:
        time.sleep(HELD_SECONDS)

    request = GenerationRequest(prompt_ids=(5, 6), max_new_tokens=3)
    (answer,) = loop.submit(engine, [request])
    answer.result(30)
    assert loop.take_longest_pause() < HELD_SECONDS
    (answer,) = loop.submit(engine, [request], listener=hold)
    answer.result(30)
    loop.stop()
    assert loop.take_longest_pause() >= HELD_SECONDS
    assert loop.take_longest_pause() == 0.0
