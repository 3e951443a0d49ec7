"""The waiting list: clients take turns, and one with many requests makes room for others."""

from __future__ import annotations

import pytest

from service.generation.decoding.requests import Entry, GenerationRequest, Running
from service.generation.decoding.waiting import WaitingList
from service.generation.errors import RequestNotValid, TooManyWaiting


def entries(client: str, count: int) -> list[Entry]:
    request = GenerationRequest(prompt_ids=(1,), max_new_tokens=1, client=client)
    return [Running(request=request) for _ in range(count)]


def taken(waiting: WaitingList) -> str:
    return "".join(waiting.take().request.client for _ in range(len(waiting)))


def test_clients_take_turns_whoever_came_first_with_how_many() -> None:
    waiting = WaitingList(max_waiting=20)
    for client, count in (("a", 5), ("b", 2), ("c", 1)):
        waiting.put(entries(client, count), num_free=0, num_places=4)
    assert taken(waiting) == "abcabaaa"


def test_one_clients_requests_keep_their_order() -> None:
    waiting = WaitingList(max_waiting=9)
    first, second = entries("a", 2)
    waiting.put([first], num_free=0, num_places=1)
    waiting.put([second], num_free=0, num_places=1)
    assert [waiting.take(), waiting.take()] == [first, second]


def test_a_full_list_takes_a_newcomer_in_place_of_the_last_of_who_has_most() -> None:
    waiting = WaitingList(max_waiting=4)
    many = entries("a", 4)
    waiting.put(many, num_free=0, num_places=1)
    assert waiting.put(entries("b", 1), num_free=0, num_places=1) == [many[-1]]
    assert waiting.put(entries("b", 1), num_free=0, num_places=1) == [many[-2]]
    assert len(waiting) == 4
    with pytest.raises(TooManyWaiting):
        waiting.put(entries("b", 1), num_free=0, num_places=1)
    assert taken(waiting) == "abab"


def test_who_asks_for_more_than_others_have_displaces_nobody() -> None:
    waiting = WaitingList(max_waiting=4)
    waiting.put(entries("a", 2), num_free=0, num_places=1)
    waiting.put(entries("b", 2), num_free=0, num_places=1)
    with pytest.raises(TooManyWaiting):
        waiting.put(entries("c", 2), num_free=0, num_places=1)
    assert len(waiting) == 4


def test_more_than_could_ever_be_held_is_refused_for_good() -> None:
    with pytest.raises(RequestNotValid):
        WaitingList(max_waiting=4).put(entries("a", 6), num_free=1, num_places=1)


def test_what_is_gone_is_dropped_and_its_client_with_it() -> None:
    waiting = WaitingList(max_waiting=9)
    gone, *_ = all_of_a = entries("a", 2)
    waiting.put(all_of_a, num_free=0, num_places=1)
    lost = entries("b", 1)
    waiting.put(lost, num_free=0, num_places=1)
    waiting.drop(lambda entry: entry in {gone, *lost})
    assert (len(waiting), taken(waiting)) == (1, "a")
