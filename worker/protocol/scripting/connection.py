"""The connection that all parts of the ledger share: one Redis, the keys of one store, a clock and one error type."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from editing_core.clock import Clock, timestamp, utc_now
from worker.protocol.errors import LedgerDown
from worker.protocol.keys import Key, Keys
from worker.protocol.logs import log_event
from worker.protocol.scripting.prelude import PRELUDE

LOGGER = logging.getLogger(__name__)
REPEAT_SECONDS = 30.0
"""Shortest pause between two log lines of the same failure."""
_LOGGED: dict[str, float] = {}
"""The last logged failure and its time."""
AWAY = (
    "Redis does not answer: retry shortly. It is not known whether a change was made: repeat it with the same "
    "Idempotency-Key"
)

REFUSALS = ("OOM", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "LOADING", "CLUSTERDOWN", "NOAUTH", "NOPERM")
"""First words of the errors that Redis returns when it refuses to work."""


@contextmanager
def reaching() -> Iterator[None]:
    """Convert errors of Redis that the caller cannot fix into LedgerDown."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        _log_failure("redis.away", error)
        raise LedgerDown(AWAY) from error
    except ResponseError as error:
        text = f"{getattr(error, 'status_code', '')} {error}"  # the driver removes the first word of some errors
        word = next((word for word in REFUSALS if word in text), None)
        if word is None:
            raise
        _log_failure("redis.refuses", error)
        raise LedgerDown(f"Redis refuses to work ({word}): retry after an operator has fixed Redis") from error


def _log_failure(event: str, error: Exception) -> None:
    """Log the driver's error text for operators, because it names addresses. Limits the rate of repeats."""
    now, reason = time.monotonic(), str(error)
    if now >= _LOGGED.get(reason, -math.inf) + REPEAT_SECONDS:
        _LOGGED.clear()
        _LOGGED[reason] = now
        log_event(LOGGER, event, level=logging.WARNING, reason=reason)


class Connection:
    """One Redis, the keys of one store and a clock, shared by all parts of a ledger."""

    def __init__(self, redis: Redis, keys: Keys, *, clock: Clock = utc_now) -> None:
        self.redis: Any = redis
        self.keys = keys
        self._clock = clock
        self._scripts: dict[str, Any] = {}

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield the Redis client. Raises LedgerDown if Redis does not answer within the block."""
        with reaching():
            yield self.redis

    def run(self, script: str, *, who: str = "worker", **arguments: object) -> Any:
        """Run a Lua script after the prelude. Raises LedgerDown.

        The script reads its ``arguments`` from the table ``ARG``: texts, integers below 2^53, and lists or mappings of
        them, but never None. Pass stored JSON as text, because Lua would write it differently. ``who`` is the author in
        the audit chain; empty for a local client.
        """
        registered = self._scripts.get(script)
        if registered is None:
            registered = self._scripts[script] = self.redis.register_script(PRELUDE + script)
        call = {"prefix": self.keys.prefix, "now": self.now(), "who": who, "arguments": arguments}
        with self.client() as redis:
            return registered(args=[json.dumps(call, ensure_ascii=False)], client=redis)

    def at(self, key: Key, member: str = "") -> str:
        """Return the full key. ``member``: the id of the member, for a family."""
        return self.keys.at(key, member)

    def now(self) -> str:
        """Return the current time as text."""
        return timestamp(self._clock())

    def ping(self) -> None:
        """Raise LedgerDown unless Redis answers."""
        with self.client() as redis:
            redis.ping()

    def redis_info(self, section: str) -> dict[str, str]:
        """Return a section of Redis' INFO, with values as text."""
        with self.client() as redis:
            return {str(name): str(value) for name, value in redis.info(section).items()}
