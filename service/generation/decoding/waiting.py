"""The waiting list of one version: clients take turns, so a client with many requests does not delay the others.

Clients are identified by name. The contents of requests are not used. Not thread-safe by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from service.generation.decoding.requests import Entry
from service.generation.errors import RequestNotValid, TooManyWaiting


class WaitingList:
    """Waiting entries by client, each client's in order of arrival."""

    def __init__(self, *, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._by_client: dict[str, deque[Entry]] = {}
        """Waiting entries by client, in the order of the clients' turns."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, entries: Sequence[Entry], *, num_free: int, num_places: int) -> list[Entry]:
        """Add entries of one client, all or none. ``num_free`` is the number of free places.

        If the list is full, clients with more waiting entries than this one lose their last entries, which are removed
        and returned. Raises TooManyWaiting, and RequestNotValid for more entries than the service can ever hold.
        """
        if len(entries) > self._max_waiting + num_places:
            raise RequestNotValid(
                f"{len(entries)} prompts in one request; this service holds {self._max_waiting + num_places}: "
                "send fewer at a time",
                loc=("prompt",),
            )
        room = self._max_waiting + num_free - len(entries)
        if self._size > room:
            self.drop(lambda entry: entry.answer.done())  # entries whose clients have just disconnected
        excess = self._size - room
        displaced = self._select_displaced(entries[0].request.client, len(entries), excess)
        for entry in displaced:
            self._remove(entry)
        self._by_client.setdefault(entries[0].request.client, deque()).extend(entries)
        self._size += len(entries)
        return displaced

    def take(self) -> Entry:
        """Remove and return the next entry in turn. The list must not be empty."""
        client = next(iter(self._by_client))
        entries = self._by_client.pop(client)
        entry = entries.popleft()
        entry.group.has_started = True
        if entries:
            self._by_client[client] = entries
        self._size -= 1
        return entry

    def drop(self, is_gone: Callable[[Entry], bool]) -> None:
        """Remove the entries for which ``is_gone`` is true."""
        for entry in [entry for entries in self._by_client.values() for entry in entries if is_gone(entry)]:
            self._remove(entry)

    def _select_displaced(self, client: str, num_entries: int, excess: int) -> list[Entry]:
        """Select at least ``excess`` entries, each from the client with the most, which has more than ``client``."""
        left = {name: list(entries) for name, entries in self._by_client.items()}
        own = len(left.pop(client, ())) + num_entries
        chosen: list[Entry] = []
        while len(chosen) < excess:
            longest = max(left.values(), key=len, default=[])
            if len(longest) <= own:
                raise TooManyWaiting(
                    f"{self._size} requests are waiting for a place, and at most {self._max_waiting} may wait: "
                    "retry a little later",
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
    """Return the entries to displace first: from the last group that has no place yet, or else from the last group.

    These are all waiting entries of the group if its answers are only useful together, otherwise its last entry.
    """
    groups = (entry.group for entry in reversed(entries) if not entry.group.has_started)
    group = next(groups, entries[-1].group)
    members = [entry for entry in entries if entry.group is group]
    return members if group.all_or_none else members[-1:]


def displaced_error() -> TooManyWaiting:
    """Return the error for displaced requests."""
    return TooManyWaiting(
        "the waiting list is full, and clients with fewer requests come first: retry a little later, with fewer "
        "requests at a time",
        retry_after_seconds=1,
    )
