"""The service's composition root: ``python -m service.serve`` creates the parts of one process and serves them.

Reads the settings from the environment. Exit codes: 0 stopped on request, 1 Redis is unreachable (retry), 2 refused to
start (a retry does not help); the reason is one line on standard error.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from redis import Redis

from editing_core.errors import ErrataError, InvalidSettings
from editing_core.versions.head import read_head
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from service.api.app import create_app
from service.api.state import ApiState, Generation
from service.connections import limited_protocol
from worker.protocol.connections import Durability, connect, connect_queue, require_durable
from worker.protocol.errors import LedgerBehind, LedgerDown
from worker.protocol.head_state import HeadState, compare_head, describe_older_redis
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event, start_logging
from worker.protocol.queue import WorkQueue
from worker.protocol.redis_address import redis_address, require_closed_redis
from worker.protocol.settings import Settings, read_settings

logger = logging.getLogger("service.serve")

KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048
SHUTDOWN_GRACE_SECONDS = 2
"""Time after ``stop_seconds`` for sending errors to clients whose answers have not ended."""


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        settings = read_settings()
        start_logging(settings.log_level, form=settings.log_format)
        serve(settings)
    except KeyboardInterrupt:
        return 0
    except ErrataError as error:
        sys.stderr.write(f"errata: {error}\n")
        return 1 if isinstance(error, LedgerDown) else 2
    return 0


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Stop at the first signal, and ignore further signals during the shutdown."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def serve(settings: Settings) -> None:
    """Create the parts of the process and serve until a signal. Raises ErrataError if it refuses to start."""
    store = open_identity(settings.data)
    url = redis_address(settings)
    require_closed_redis(url, accept_open=settings.accept_open_redis)
    redis = connect(url)
    ledger = Ledger(redis, Keys(store.id))
    durability = _checked_durability(redis, settings)
    if durability is not None:
        ledger.format.require()
    _require_current(ledger, settings)
    queue = WorkQueue(connect_queue(url), store.id, job_timeout_seconds=settings.job_timeout_seconds)
    registry = CollectorRegistry()
    with _generation(settings, ledger, registry) as generation:
        app = create_app(settings, ledger, queue, generation=generation, durability=durability, registry=registry)
        if generation is None:  # generation freezes by itself, before it loads a version
            gc.collect()
            gc.freeze()  # later collections skip the modules and schemas, so a large POST costs less
        with _listen(settings) as listener:
            _Server(app, listener).run(sockets=[listener])
    log_event(logger, "stopped", role=settings.role)


def _checked_durability(redis: Redis, settings: Settings) -> Durability | None:
    """Return the durability that Redis reports; None if Redis is down and this process can run without it."""
    try:
        durability = require_durable(redis, accept_unsafe=settings.accept_unsafe_redis)
    except LedgerDown:
        if settings.role == "generation":
            return None
        raise
    if not durability.ok:
        log_event(logger, "unsafe_redis_accepted", level=logging.WARNING, reason=durability.reason)
    return durability


def _require_current(ledger: Ledger, settings: Settings) -> None:
    """Raise LedgerBehind if the files record a later promotion than Redis: an older Redis was restored."""
    head = read_head(StoreLayout(settings.data))
    try:
        pointer = ledger.versions.known_pointer()
    except LedgerDown:
        return  # this process can run without Redis
    if compare_head(head, pointer) == HeadState.HEAD_AHEAD:
        assert head is not None
        assert pointer is not None
        raise LedgerBehind(describe_older_redis(head, pointer))


@contextmanager
def _generation(settings: Settings, ledger: Ledger, registry: CollectorRegistry) -> Iterator[Generation | None]:
    """Yield generation if the role includes it. Only this function imports torch in this process."""
    if settings.role == "api":
        yield None
        return
    try:
        from service.generation.runtime import GenerationRuntime
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"the role {settings.role} needs {error.name}: install errata[model], or serve the API alone (--role api)"
        ) from None
    runtime = GenerationRuntime.start(settings, ledger, registry=registry)
    try:
        yield runtime
    finally:
        runtime.close()


def _listen(settings: Settings) -> socket.socket:
    """Open the socket to serve on. Raises InvalidSettings if the address is not available."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidSettings(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): choose another --host or --port"
        ) from error


class _Server(uvicorn.Server):
    """Logs its address, and ends open answers when it stops."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=limited_protocol(),
                lifespan="off",
                ws="none",
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # clients take turns by address, which a header must not set
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=ceil(app.state.errata.settings.stop_seconds) + SHUTDOWN_GRACE_SECONDS,
            )
        )
        self._state: ApiState = app.state.errata
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self._listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log_event(logger, "listening", url=url, role=self._state.settings.role, data=str(self._state.settings.data))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log_event(logger, "stopping", role=self._state.settings.role)
        self._state.stopping.set()
        if (generation := self._state.generation) is not None:
            loop, seconds = asyncio.get_running_loop(), self._state.settings.stop_seconds
            # A separate thread, because all others may be busy with open answers.
            ending = threading.Thread(target=generation.end_answers, name="errata-end", daemon=True)
            loop.call_later(seconds, ending.start)
        await super().shutdown(sockets)


if __name__ == "__main__":
    sys.exit(main())
