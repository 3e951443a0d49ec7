"""Questions to the ledger from the event loop that a Redis that hangs does not hold up.

They have threads of their own: whatever else is done in threads goes on meanwhile. Torch-free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")

NUM_THREADS = 16
LEDGER_TIMEOUT_SECONDS = 2.0
"""How long an answer waits for the ledger."""


async def call_with_timeout(call: Callable[[], T]) -> T:
    """What ``call`` returns or raises; TimeoutError where that takes too long, the wait for a thread counted."""
    future = _threads().submit(call)
    async with asyncio.timeout(LEDGER_TIMEOUT_SECONDS):
        return await asyncio.wrap_future(future)  # when it is given up, one that has not begun never will


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="errata-ledger")
