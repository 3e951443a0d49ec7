"""Prompts that are prefilled in chunks give the same answers, and long ones do not delay running answers."""

from __future__ import annotations

import pytest

from service.generation.decoding.requests import GenerationRequest, Piece
from tests.support.decoding import engine_of, requests, run_all
from tests.support.generation import PROMPTS, greedy_ids
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer

LONG = tuple(tiny_tokenizer()(" ".join(PROMPTS) * 3)["input_ids"][:200])


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("prefill_tokens", [1, 7, 64])
def test_answers_are_the_same_however_small_the_chunks_are(family: TinyFamily, prefill_tokens: int) -> None:
    model = tiny_model(family)
    engine = engine_of(model, num_places=8, prefill_tokens=prefill_tokens)
    first = engine.submit([GenerationRequest(prompt_ids=LONG[:9], max_new_tokens=240)])
    engine.step()
    asked = [*requests(), GenerationRequest(prompt_ids=LONG, max_new_tokens=20)]
    answers = [answer for request in asked for answer in engine.submit([request])]
    while engine.busy:
        engine.step()
    assert list(first[0].result(0).ids) == greedy_ids(model, list(LONG[:9]), 240)
    for request, answer in zip(asked, answers, strict=True):
        assert list(answer.result(0).ids) == greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)


def test_a_long_prompt_costs_a_running_answer_no_step() -> None:
    engine = engine_of(tiny_model("gptj"), prefill_tokens=16)
    pieces: list[Piece] = []
    engine.submit(
        [GenerationRequest(prompt_ids=LONG[:3], max_new_tokens=100, num_logprobs=0)],
        listener=lambda _, piece: pieces.append(piece),
    )
    engine.step()
    engine.submit([GenerationRequest(prompt_ids=LONG, max_new_tokens=2)])
    before = len(pieces)
    for _ in range(len(LONG) // 16):
        engine.step()
    assert len(pieces) == before + len(LONG) // 16


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_places_that_are_freed_while_prompts_are_read_spoil_nothing(family: TinyFamily) -> None:
    model = tiny_model(family)
    engine = engine_of(model, num_places=6, prefill_tokens=8)
    short = engine.submit([GenerationRequest(prompt_ids=LONG[: 4 + i], max_new_tokens=3 + 4 * i) for i in range(4)])
    engine.step()
    gone, *kept = long = [
        engine.submit([GenerationRequest(prompt_ids=LONG[i : 90 + 7 * i], max_new_tokens=9)])[0] for i in range(6)
    ]
    for step in range(400):
        engine.step()
        if step == 3:
            gone.cancel()
        if not engine.busy:
            break
    assert not engine.busy
    for i, answer in enumerate(short):
        assert list(answer.result(0).ids) == greedy_ids(model, list(LONG[: 4 + i]), 3 + 4 * i)
    for i, answer in enumerate(long):
        if answer in kept:
            assert list(answer.result(0).ids) == greedy_ids(model, list(LONG[i : 90 + 7 * i]), 9)


def test_a_streamed_answer_is_the_whole_one_in_pieces() -> None:
    model = tiny_model("gptj")
    asked = requests(temperature=1.2, seed=3)
    whole = [result.text for result in run_all(engine_of(model), asked)]
    engine, pieces = engine_of(model), [""] * len(asked)

    def listen(number: int, piece: Piece) -> None:
        pieces[number] += piece.text

    answers = engine.submit(asked, listener=listen)
    while engine.busy:
        engine.step()
    assert pieces == [answer.result(0).text for answer in answers] == whole
