"""The decode loop against the library's own ``generate``: token for token, in company, through failures."""

from __future__ import annotations

from concurrent.futures import CancelledError

import pytest
import torch

from service.generation.decoding.loop import DecodeLoop
from service.generation.decoding.requests import GenerationRequest
from service.generation.errors import TooManyWaiting
from tests.support.decoding import WAIT_SECONDS, engine_of, requests, run_all
from tests.support.generation import PROMPTS, greedy_ids
from tests.support.tiny_models import NUM_POSITIONS, TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("num_places", [3, 8])
def test_eight_concurrent_requests_get_exactly_what_generate_writes_for_each(
    family: TinyFamily, num_places: int
) -> None:
    model = tiny_model(family)
    asked = requests()
    for request, result in zip(asked, run_all(engine_of(model, num_places=num_places), asked), strict=True):
        assert list(result.ids) == greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)
        assert result.finish_reason == "length" or len(result.ids) < request.max_new_tokens
        assert result.text == tiny_tokenizer().decode(result.ids)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_requests_that_arrive_while_others_run_change_no_answer(family: TinyFamily, loop: DecodeLoop) -> None:
    model = tiny_model(family)
    engine = engine_of(model)
    loop.add(engine)
    asked = requests()
    answers = [loop.submit(engine, [request])[0] for request in asked]
    for request, answer in zip(asked, answers, strict=True):
        expected = greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)
        assert list(answer.result(WAIT_SECONDS).ids) == expected


def test_an_answer_ends_before_the_models_end_token() -> None:
    model = tiny_model("gptj")
    [request] = requests()[:1]
    first = run_all(engine_of(model), [request])[0].ids
    model.generation_config.eos_token_id = [0, first[3]]
    [result] = run_all(engine_of(model), [request])
    assert result.finish_reason == "stop"
    assert result.ids == first[: first.index(first[3])]


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_the_last_token_of_the_context_can_be_written(family: TinyFamily) -> None:
    model = tiny_model(family)
    ids = (tiny_tokenizer()(" ".join(PROMPTS) * 3)["input_ids"])[: NUM_POSITIONS - 3]
    [result] = run_all(engine_of(model), [GenerationRequest(prompt_ids=tuple(ids), max_new_tokens=3)])
    assert list(result.ids) == greedy_ids(model, ids, 3)


def test_sampled_text_of_a_seed_is_the_same_alone_and_in_company() -> None:
    model = tiny_model("gptj")
    asked = requests(temperature=0.9, top_p=0.95, seed=7)
    alone = [run_all(engine_of(model), [request])[0].ids for request in asked]
    mixed = asked + requests() + requests(temperature=1.3, seed=8)
    together = [result.ids for result in run_all(engine_of(model, num_places=8), mixed)]
    assert together[: len(asked)] == alone


def test_other_seeds_give_other_texts_and_no_seed_gives_a_new_one_each_time() -> None:
    model = tiny_model("gptj")
    [request] = requests(temperature=1.5, seed=1)[5:6]
    texts = {
        run_all(engine_of(model), [GenerationRequest(prompt_ids=request.prompt_ids, max_new_tokens=30, **options)])[
            0
        ].ids
        for options in (
            {"temperature": 1.5, "seed": 1},
            {"temperature": 1.5, "seed": 2},
            {"temperature": 1.5},
            {"temperature": 1.5},
            {},
        )
    }
    assert len(texts) == 5


def test_requests_take_places_in_order_of_arrival() -> None:
    engine = engine_of(tiny_model("gptj"), num_places=1)
    order: list[int] = []
    for i, answer in enumerate(engine.submit(requests())):
        answer.add_done_callback(lambda _, i=i: order.append(i))
    while engine.busy:
        engine.step()
    assert order == list(range(8))


def test_a_cancelled_request_frees_its_place_within_one_step() -> None:
    engine = engine_of(tiny_model("gptj"), num_places=2)
    first, second, third = engine.submit(requests()[-3:])
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (2, 1)
    assert first.cancel()
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (2, 0)
    while engine.busy:
        engine.step()
    with pytest.raises(CancelledError):
        first.result(0)
    expected = [greedy_ids(tiny_model("gptj"), list(r.prompt_ids), r.max_new_tokens) for r in requests()[-2:]]
    assert [list(second.result(0).ids), list(third.result(0).ids)] == expected


def test_a_cancelled_waiting_request_never_takes_a_place() -> None:
    engine = engine_of(tiny_model("gptj"), num_places=1)
    _, waiting = engine.submit(requests()[-2:])
    engine.step()
    waiting.cancel()
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (1, 0)


def test_too_many_waiting_are_refused_all_or_none() -> None:
    engine = engine_of(tiny_model("gptj"), num_places=2, max_waiting=3)
    engine.submit(requests()[:3])
    with pytest.raises(TooManyWaiting) as refusal:
        engine.submit(requests()[:3])
    assert refusal.value.retry_after_seconds == 1
    assert engine.num_waiting == 3
    engine.submit(requests()[:2])


def test_the_memory_of_the_cache_is_freed_when_no_request_is_left() -> None:
    engine = engine_of(tiny_model("gptj"))
    run_all(engine, requests())
    engine.step()
    assert engine.cache_bytes == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_half_precision_models_answer_too(family: TinyFamily, dtype: torch.dtype) -> None:
    results = run_all(engine_of(tiny_model(family, dtype=dtype)), requests())
    assert [len(result.ids) > 0 for result in results] == [True] * 8
