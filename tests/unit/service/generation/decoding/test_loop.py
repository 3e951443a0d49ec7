"""The loop reports how long answers stalled, and one version's prompts do not delay another's answers."""

from __future__ import annotations

import gc
import weakref

from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.loop import DecodeLoop, freeze_garbage_collector
from service.generation.decoding.requests import GenerationRequest, Piece
from tests.support.tiny_loaded import tiny_loaded
from tests.support.waiting import until

HELD_SECONDS = 1.0


def test_the_longest_pause_between_two_steps_is_reported_once() -> None:
    loaded = tiny_loaded("gptj")
    engine = DecodeEngine(loaded.model, loaded.tokenizer, num_places=1, max_length=64, max_waiting=4, prefill_tokens=64)
    now = [0.0]
    loop = DecodeLoop(clock=lambda: now[0])
    loop.add(engine)
    loop.start()

    def hold(_number: int, _piece: Piece) -> None:
        now[0] += HELD_SECONDS

    request = GenerationRequest(prompt_ids=(5, 6), max_new_tokens=3)
    (answer,) = loop.submit(engine, [request])
    answer.result(30)
    assert loop.take_longest_pause() < HELD_SECONDS
    (answer,) = loop.submit(engine, [request], listener=hold)
    answer.result(30)
    loop.stop()
    assert loop.take_longest_pause() >= HELD_SECONDS
    assert loop.take_longest_pause() == 0.0


def test_prompts_of_one_version_are_read_in_small_chunks_while_another_writes() -> None:
    loaded = tiny_loaded("gptj")
    writing, reading = (
        DecodeEngine(loaded.model, loaded.tokenizer, num_places=2, max_length=256, max_waiting=4, prefill_tokens=16)
        for _ in range(2)
    )
    loop = DecodeLoop()
    loop.add(writing)
    loop.add(reading)
    pieces: list[Piece] = []
    running = GenerationRequest(prompt_ids=(5, 6), max_new_tokens=200, num_logprobs=0)
    loop.submit(writing, [running], listener=lambda _, piece: pieces.append(piece))
    (long,) = loop.submit(reading, [GenerationRequest(prompt_ids=(7,) * 160, max_new_tokens=1)])
    num_pieces: list[int] = []
    long.add_done_callback(lambda _: num_pieces.append(len(pieces)))
    loop.start()
    long.result(30)
    loop.stop()
    assert num_pieces[0] >= 160 // 16


def test_objects_that_exist_at_the_start_are_excluded_from_collections() -> None:
    kept = [[] for _ in range(1000)]
    try:
        freeze_garbage_collector()
        assert gc.get_freeze_count() > len(kept)
    finally:
        gc.unfreeze()
    assert gc.get_freeze_count() == 0


def test_an_engine_that_was_removed_leaves_memory_although_nothing_is_asked_any_more() -> None:
    loaded = tiny_loaded("gptj")
    engine = DecodeEngine(loaded.model, loaded.tokenizer, num_places=1, max_length=64, max_waiting=4, prefill_tokens=64)
    known, loop = weakref.ref(engine), DecodeLoop()
    loop.add(engine)
    loop.start()
    (answer,) = loop.submit(engine, [GenerationRequest(prompt_ids=(5, 6), max_new_tokens=3)])
    answer.result(30)
    loop.remove(engine)
    del engine, answer
    until(lambda: known() is None)
    loop.stop()
