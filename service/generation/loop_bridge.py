"""Carries what the decoding thread says to the event loop: one wake-up for all that is said meanwhile.

A step has something to say to every stream; waking the event loop for each would cost both threads more than the
saying itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Mailbox:
    """Calls functions in one event loop, in the order in which other threads post them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._letters: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, letter: Callable[[], None]) -> None:
        """Have the event loop call this soon; from any thread. Forgotten when the loop has ended."""
        self._letters.append(letter)
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody is there to be told
                self._letters.clear()

    def _deliver(self) -> None:
        self._woken = False  # before reading: whoever posts from now on wakes again
        while self._letters:
            self._letters.popleft()()
