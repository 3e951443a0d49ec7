"""Passes callbacks from the decoding thread to an event loop, with one wake-up for all that are pending.

Each step has an event for every stream. Waking the event loop once per event would cost both threads more than the
events themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class LoopBridge:
    """Calls functions in one event loop, in the order in which other threads post them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._callbacks: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, callback: Callable[[], None]) -> None:
        """Make the event loop call the function soon, from any thread. Does nothing if the loop is closed."""
        self._callbacks.append(callback)
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._run_callbacks)
            except RuntimeError:  # the loop is closed, so the events have no reader
                self._callbacks.clear()

    def _run_callbacks(self) -> None:
        self._woken = False  # before the first callback: a later post must wake the loop again
        while self._callbacks:
            self._callbacks.popleft()()
