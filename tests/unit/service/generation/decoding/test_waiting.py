"""The waiting list: clients take turns, and one with many requests makes room for others."""

from __future__ import annotations

import pytest

from service.generation.decoding.requests import Entry, GenerationEntry, GenerationRequest, Group
from service.generation.decoding.waiting import WaitingList
from service.generation.errors import RequestNotValid, TooManyWaiting


def entries(client: str, count: int) -> list[Entry]:
    request = GenerationRequest(prompt_ids=(1,), max_new_tokens=1, client=client)
    return [GenerationEntry(request=request) for _ in range(count)]


def together(client: str, count: int, *, all_or_none: bool = True) -> list[Entry]:
    """Requests that came as one."""
    group, made = Group(all_or_none=all_or_none), entries(client, count)
    for entry in made:
        entry.group = group
    return made


def taken(waiting: WaitingList) -> str:
    return "".join(waiting.take().request.client for _ in range(len(waiting)))


def test_clients_take_turns_regardless_of_arrival_and_number() -> None:
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


def test_a_full_list_displaces_the_last_request_of_the_client_with_the_most() -> None:
    waiting = WaitingList(max_waiting=4)
    many = entries("a", 4)
    waiting.put(many, num_free=0, num_places=1)
    assert waiting.put(entries("b", 1), num_free=0, num_places=1) == [many[-1]]
    assert waiting.put(entries("b", 1), num_free=0, num_places=1) == [many[-2]]
    assert len(waiting) == 4
    with pytest.raises(TooManyWaiting):
        waiting.put(entries("b", 1), num_free=0, num_places=1)
    assert taken(waiting) == "abab"


def test_a_client_that_asks_for_more_than_others_have_displaces_no_request() -> None:
    waiting = WaitingList(max_waiting=4)
    waiting.put(entries("a", 2), num_free=0, num_places=1)
    waiting.put(entries("b", 2), num_free=0, num_places=1)
    with pytest.raises(TooManyWaiting):
        waiting.put(entries("c", 2), num_free=0, num_places=1)
    assert len(waiting) == 4


def test_more_than_could_ever_be_held_is_refused_for_good() -> None:
    with pytest.raises(RequestNotValid):
        WaitingList(max_waiting=4).put(entries("a", 6), num_free=1, num_places=1)


def test_finished_entries_are_dropped_together_with_their_client() -> None:
    waiting = WaitingList(max_waiting=9)
    gone, *_ = all_of_a = entries("a", 2)
    waiting.put(all_of_a, num_free=0, num_places=1)
    lost = entries("b", 1)
    waiting.put(lost, num_free=0, num_places=1)
    waiting.drop(lambda entry: entry in {gone, *lost})
    assert (len(waiting), taken(waiting)) == (1, "a")


def test_a_list_whose_answers_are_given_together_makes_room_as_a_whole_and_one_that_is_begun_comes_last() -> None:
    waiting = WaitingList(max_waiting=6)
    begun, untouched = together("a", 4), together("a", 3)
    waiting.put(begun, num_free=1, num_places=1)
    assert waiting.take() is begun[0]
    waiting.put(untouched, num_free=0, num_places=1)
    assert set(waiting.put(entries("b", 1), num_free=0, num_places=1)) == set(untouched)
    waiting.put(entries("c", 2), num_free=0, num_places=1)
    assert set(waiting.put(entries("d", 1), num_free=0, num_places=1)) == set(begun[1:])
    assert taken(waiting) == "bcdc"


def test_of_a_streamed_list_only_the_last_prompts_make_room() -> None:
    waiting = WaitingList(max_waiting=3)
    streamed = together("a", 3, all_or_none=False)
    waiting.put(streamed, num_free=0, num_places=1)
    assert waiting.put(entries("b", 1), num_free=0, num_places=1) == [streamed[-1]]
    assert waiting.put(entries("c", 1), num_free=0, num_places=1) == [streamed[-2]]


def test_a_streamed_list_that_lost_a_prompt_still_makes_room_before_an_earlier_whole_one() -> None:
    waiting = WaitingList(max_waiting=20)
    whole, streamed = together("a", 10), together("a", 10, all_or_none=False)
    waiting.put(whole, num_free=0, num_places=1)
    waiting.put(streamed, num_free=0, num_places=1)
    assert waiting.put(entries("b", 2), num_free=0, num_places=1) == [streamed[-1], streamed[-2]]


def test_those_whose_clients_have_gone_make_room_before_anyone_else() -> None:
    waiting = WaitingList(max_waiting=4)
    gone = entries("a", 4)
    waiting.put(gone, num_free=0, num_places=1)
    for entry in gone:
        entry.answer.cancel()
    assert waiting.put(entries("a", 4), num_free=0, num_places=1) == []
    assert len(waiting) == 4
