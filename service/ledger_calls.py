"""Calls the ledger from the event loop with a time limit, so a hanging Redis blocks nothing else.

The calls have their own threads, so they do not block other work in threads. Torch-free.
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
"""Longest time that a request waits for the ledger."""


async def call_with_timeout(call: Callable[[], T]) -> T:
    """Return the result of ``call`` or raise its error.

    Raises TimeoutError if the call takes too long, including the wait for a thread.
    """
    future = _threads().submit(call)
    async with asyncio.timeout(LEDGER_TIMEOUT_SECONDS):
        return await asyncio.wrap_future(future)  # a timeout also cancels a call that has not begun


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="errata-ledger")
