"""Connections to Redis, and the check that this Redis does not lose accepted batches."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from editing_core.errors import InvalidSettings
from worker.protocol.errors import LedgerDown, UnsafeRedis

CONNECT_TIMEOUT_SECONDS = 2.0
ANSWER_TIMEOUT_SECONDS = 20.0
"""Long enough for a batch of 64 MB to be synced to a slow disk."""
OLDEST_REDIS = (6, 2)
"""The first version with all commands that the ledger and RQ use (SMISMEMBER, BLMOVE)."""


def connect(url: str) -> Redis:
    """Return a client for the ledger that returns text. It connects on the first call.

    It retries once, because a restart of Redis closes pooled connections. Every script may safely run twice.
    Raises InvalidSettings for an invalid address.
    """
    return _client(url, decode=True)


def connect_queue(url: str) -> Redis:
    """Return a client for the queue. It returns bytes, as RQ requires."""
    return _client(url, decode=False)


def _client(url: str, *, decode: bool) -> Redis:
    try:
        client: Redis = Redis.from_url(
            url,
            decode_responses=decode,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_timeout=ANSWER_TIMEOUT_SECONDS,
            retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 1, supported_errors=(RedisConnectionError,)),
        )
    except ValueError as error:
        raise InvalidSettings(f"REDIS_URL is no address of a Redis: {error}") from None
    return client


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """The durability settings of a Redis. A setting that Redis does not report is None."""

    appendonly: str | None
    appendfsync: str | None
    maxmemory_policy: str | None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why Redis could lose an accepted batch, one reason per setting. Empty if it cannot."""
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        found = dict(zip(wanted, (self.appendonly, self.appendfsync, self.maxmemory_policy), strict=True))
        return tuple(
            f"{name} is {found[name] or 'not reported'}, not {value}"
            for name, value in wanted.items()
            if found[name] != value
        )

    @property
    def ok(self) -> bool:
        """Whether Redis keeps every accepted batch."""
        return not self.reasons

    @property
    def reason(self) -> str | None:
        """All reasons in one line; None if ``reasons`` is empty."""
        return "; ".join(self.reasons) or None


def check_durability(redis: Redis) -> Durability:
    """Read the durability settings from INFO and CONFIG GET (a hosted Redis may refuse the latter).

    Raises LedgerDown if Redis does not answer.
    """
    try:
        append_only = _info(redis, "persistence").get("aof_enabled")
        return Durability(
            appendonly=None if append_only is None else ("yes" if int(append_only) else "no"),
            appendfsync=_config(redis, "appendfsync"),
            maxmemory_policy=_config(redis, "maxmemory-policy") or _info(redis, "memory").get("maxmemory_policy"),
        )
    except RedisError as error:
        raise LedgerDown(f"Redis does not answer ({error}): start it, or correct REDIS_URL") from error


def require_durable(redis: Redis, *, accept_unsafe: bool) -> Durability:
    """Raise UnsafeRedis if Redis could lose accepted batches, unless ``accept_unsafe`` is set.

    Raises InvalidSettings if Redis is too old, and LedgerDown if it does not answer.
    """
    _require_recent(redis)
    durability = check_durability(redis)
    if not durability.ok and not accept_unsafe:
        raise UnsafeRedis(
            f"this Redis may lose accepted batches ({durability.reason}): set appendonly yes, appendfsync always and "
            "maxmemory-policy noeviction, or set ERRATA_ACCEPT_UNSAFE_REDIS=true to take the risk"
        )
    return durability


def _require_recent(redis: Redis) -> None:
    try:
        found = _info(redis, "server").get("redis_version", "")
    except RedisError as error:
        raise LedgerDown(f"Redis does not answer ({error}): start it, or correct REDIS_URL") from error
    if (version := version_in(found)) is not None and version < OLDEST_REDIS:
        wanted = ".".join(map(str, OLDEST_REDIS))
        raise InvalidSettings(f"this Redis is {found}, and Errata needs {wanted} or later: use another REDIS_URL")


def rewrite_log(redis: Redis, *, timeout_seconds: float = 600.0) -> str:
    """Make Redis rewrite its append-only file, which removes deleted values from it. Return ``rewritten``.

    If the file is not rewritten, return the reason: this Redis has no such file, or forbids the rewrite. Raises
    LedgerDown if Redis does not answer or needs longer than ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        if not int(_info(redis, "persistence").get("aof_enabled", "0")):
            return "this Redis has no append-only file"
        _await_rewrite(redis, deadline)  # a rewrite in progress began before the deletion
        redis.bgrewriteaof()
        _await_rewrite(redis, deadline)
        status = _info(redis, "persistence").get("aof_last_bgrewrite_status")
    except ResponseError as error:
        return f"not rewritten: {error}"
    except RedisError as error:
        raise LedgerDown(f"Redis does not answer ({error}): its log is not rewritten yet") from error
    if status != "ok":
        raise LedgerDown("Redis could not rewrite its append-only file: see its own log, most often the disk is full")
    return "rewritten"


def _await_rewrite(redis: Redis, deadline: float) -> None:
    while True:
        persistence = _info(redis, "persistence")
        if persistence.get("aof_rewrite_in_progress") == "0" and persistence.get("aof_rewrite_scheduled") == "0":
            return
        if time.monotonic() > deadline:
            raise LedgerDown("Redis has not finished rewriting its append-only file yet")
        time.sleep(0.05)


def version_in(text: str) -> tuple[int, int] | None:
    """Return the major and minor number of the first version in the text; None if the text contains no version."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _info(redis: Redis, section: str) -> dict[str, str]:
    return {str(name): str(value) for name, value in redis.info(section).items()}


def _config(redis: Redis, name: str) -> str | None:
    try:
        value = redis.config_get(name).get(name)
    except ResponseError:
        return None
    return None if value is None else str(value)
