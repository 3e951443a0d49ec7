"""What all moves of the ledger stand on: one Redis, one store's keys, a clock, and one error when Redis is away."""

from __future__ import annotations

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
from worker.protocol.ledger.scripts import PRELUDE
from worker.protocol.logs import log_event

LOGGER = logging.getLogger(__name__)
REPEAT_SECONDS = 30.0
"""How long the same failure of Redis is not logged again."""
_LOGGED: dict[str, float] = {}
"""The failure logged last, and when."""
AWAY = (
    "Redis does not answer: try again shortly. If this was a change, it is not known whether the change was made: "
    "repeat it with the same Idempotency-Key"
)

REFUSALS = ("OOM", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "LOADING", "CLUSTERDOWN", "NOAUTH", "NOPERM")
"""First words with which a Redis that answers still refuses to work."""


@contextmanager
def reaching() -> Iterator[None]:
    """Turn what Redis raises when it is away into LedgerDown."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        _log_failure("redis.away", error)
        raise LedgerDown(AWAY) from error
    except ResponseError as error:
        text = f"{getattr(error, 'status_code', '')} {error}"  # the driver cuts the first word off some
        word = next((word for word in REFUSALS if word in text), None)
        if word is None:
            raise
        _log_failure("redis.refuses", error)
        raise LedgerDown(f"Redis refuses to work ({word}): try again later, when it was seen to") from error


def _log_failure(event: str, error: Exception) -> None:
    """Log the driver's words, which name addresses and are for the operator; the same ones not at every call."""
    now, reason = time.monotonic(), str(error)
    if now >= _LOGGED.get(reason, -math.inf) + REPEAT_SECONDS:
        _LOGGED.clear()
        _LOGGED[reason] = now
        log_event(LOGGER, event, level=logging.WARNING, reason=reason)


class LedgerBase:
    """The connection behind the moves."""

    def __init__(self, redis: Redis, keys: Keys, *, clock: Clock = utc_now) -> None:
        self.keys = keys
        self._redis: Any = redis
        self._clock = clock
        self._scripts: dict[str, Any] = {}

    @contextmanager
    def _reaching(self) -> Iterator[Any]:
        with reaching():
            yield self._redis

    def _run(self, script: str, *args: object, who: str = "worker") -> Any:
        """Run a move; ``script`` is its Lua after the prelude, ``who`` is told in the audit (empty: a local client)."""
        registered = self._scripts.get(script)
        if registered is None:
            registered = self._scripts[script] = self._redis.register_script(PRELUDE + script)
        with self._reaching():
            return registered(args=[self.keys.prefix, self._now(), who, *args])

    def _at(self, key: Key, member: str = "") -> str:
        return self.keys.at(key, member)

    def _now(self) -> str:
        return timestamp(self._clock())
