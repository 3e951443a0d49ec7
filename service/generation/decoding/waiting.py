"""The waiting list of one version: clients take turns, so that one with many requests does not hold up the others.

Knows clients by name and nothing of what they ask. Not safe for several threads by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from service.generation.decoding.requests import Entry
from service.generation.errors import RequestNotValid, TooManyWaiting


class WaitingList:
    """Entries by client, each client's in order of arrival."""

    def __init__(self, *, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._by_client: dict[str, deque[Entry]] = {}
        """In order of whose turn it is."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, entries: Sequence[Entry], *, num_free: int, num_places: int) -> list[Entry]:
        """Take entries of one client in, all or none; ``num_free`` of them find a place at once.

        Where the list is full, the last requests of clients that wait with more than this one make room: they are
        returned, and wait no longer. Raises TooManyWaiting, and RequestNotValid for more than could ever be held.
        """
        if len(entries) > self._max_waiting + num_places:
            raise RequestNotValid(
                f"{len(entries)} prompts at once; this service holds {self._max_waiting + num_places}: "
                "send fewer at a time",
                loc=("prompt",),
            )
        room = self._max_waiting + num_free - len(entries)
        if self._size > room:
            self.drop(lambda entry: entry.answer.done())  # whose clients have just gone
        excess = self._size - room
        displaced = self._select_displaced(entries[0].request.client, len(entries), excess)
        for entry in displaced:
            self._remove(entry)
        self._by_client.setdefault(entries[0].request.client, deque()).extend(entries)
        self._size += len(entries)
        return displaced

    def take(self) -> Entry:
        """The next one whose turn it is; there must be one."""
        client = next(iter(self._by_client))
        entries = self._by_client.pop(client)
        entry = entries.popleft()
        entry.group.has_started = True
        if entries:
            self._by_client[client] = entries
        self._size -= 1
        return entry

    def drop(self, is_gone: Callable[[Entry], bool]) -> None:
        """Forget the entries that are gone."""
        for entry in [entry for entries in self._by_client.values() for entry in entries if is_gone(entry)]:
            self._remove(entry)

    def _select_displaced(self, client: str, num_entries: int, excess: int) -> list[Entry]:
        """At least ``excess`` entries, each time the last of who waits with most, and with more than this one will."""
        left = {name: list(entries) for name, entries in self._by_client.items()}
        own = len(left.pop(client, ())) + num_entries
        chosen: list[Entry] = []
        while len(chosen) < excess:
            longest = max(left.values(), key=len, default=[])
            if len(longest) <= own:
                raise TooManyWaiting(
                    f"{self._size} requests are waiting for a place, and {self._max_waiting} may wait: "
                    "ask again a little later",
                    retry_after_seconds=1,
                )
            for entry in _next_displaced(longest):
                longest.remove(entry)
                chosen.append(entry)
        return chosen

    def _remove(self, entry: Entry) -> None:
        entries = self._by_client[entry.request.client]
        entries.remove(entry)
        self._size -= 1
        if not entries:
            del self._by_client[entry.request.client]


def _next_displaced(entries: Sequence[Entry]) -> list[Entry]:
    """What makes room first: entries of the last group of which nothing is in a place yet, else of the very last one.

    All of these that wait, where the answers are of no use without each other; else its last entry.
    """
    groups = (entry.group for entry in reversed(entries) if not entry.group.has_started)
    group = next(groups, entries[-1].group)
    members = [entry for entry in entries if entry.group is group]
    return members if group.all_or_none else members[-1:]


def displaced_error() -> TooManyWaiting:
    """What is answered to who has to make room."""
    return TooManyWaiting(
        "the waiting list is full, and clients with fewer requests come first: ask again a little later, with fewer "
        "requests at a time",
        retry_after_seconds=1,
    )
