"""``errata up``: runs Redis, the HTTP service and a worker under one supervisor, on one data folder."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from editing_core.errors import ErrataError, InvalidSettings, StoreMismatch
from editing_core.memit.config import SolveOverrides
from editing_core.versions.identity import open_identity
from service.cli.embedded_redis import plan_embedded_redis
from service.cli.options import listening_url
from service.cli.supervisor import ChildPlan, Supervisor
from worker.protocol.settings import Settings, child_environment

_LOOK_SECONDS = 0.1
_REDIS_START_SECONDS = 15.0
_PORT_WAIT_SECONDS = 3.0
_CLOSING_SECONDS = 2.0
"""Time that a child has to exit after its running answers have finished."""
_OK = 200


def run_whole(settings: Settings, *, options: dict[str, object], say: Callable[[str], None]) -> None:
    """Run everything until a signal stops it. Raises CommandFailed if a child cannot be kept running.

    ``options`` are the options of the command line; the children get them in their environment.
    """
    with hold_data(settings.data):
        _require_settings_of_store(settings)
        settings = settings.model_copy(update={"port": _free_port(settings.host, settings.port)})
        supervisor = Supervisor(say=say)
        supervisor.listen_to_signals()
        try:
            _start(supervisor, settings, options | {"port": settings.port}, say=say)
            _tend_until_stopped(supervisor, url=listening_url(settings), has_console=_has_console(settings), say=say)
        finally:
            say("stopping")
            supervisor.stop()
            if settings.redis_url is None:
                plan_embedded_redis(settings.data).stop()
    say(f"stopped; the data in {settings.data} is kept")


def _require_settings_of_store(settings: Settings) -> None:
    """Raise InvalidSettings or StoreMismatch early for settings that the worker would refuse later."""
    bound = open_identity(settings.data).settings
    differences = SolveOverrides.read(settings).differences(bound.values if bound else {})
    if differences:
        raise StoreMismatch(
            f"the store {settings.data} was solved with other settings: {'; '.join(differences)}. Start with the "
            "store's settings, or solve its edits again with others: `errata rebuild --out FOLDER`"
        )


def _start(
    supervisor: Supervisor, settings: Settings, options: dict[str, object], *, say: Callable[[str], None]
) -> None:
    redis_url = settings.redis_url
    if redis_url is None:
        redis = plan_embedded_redis(settings.data)
        environment = child_environment()
        supervisor.add(
            ChildPlan(name="embedded Redis", command=redis.command, environment=environment, refusal_is_final=False)
        )
        redis_url = redis.url
        _tend_while(supervisor, redis.wait_until_up, say=say)
    environment = child_environment(**(options | {"redis_url": redis_url}))
    for name, module in (("worker", "worker.main"), ("service", "service.serve")):
        if not supervisor.stop_requested:
            supervisor.add(
                ChildPlan(
                    name=name,
                    command=(sys.executable, "-m", module),
                    environment=environment,
                    stop_seconds=settings.stop_seconds + _CLOSING_SECONDS,
                )
            )


def _tend_while(supervisor: Supervisor, wait_until_up: Callable[[float], None], *, say: Callable[[str], None]) -> None:
    """Wait without a time limit until Redis has loaded its data. The supervisor restarts it if it dies."""
    next_message_at = time.monotonic() + _REDIS_START_SECONDS
    while not supervisor.stop_requested:
        supervisor.tend()
        try:
            wait_until_up(_LOOK_SECONDS)
        except ErrataError:
            if time.monotonic() > next_message_at:
                say("still waiting for the embedded Redis to load its data")
                next_message_at = time.monotonic() + _REDIS_START_SECONDS
        else:
            return


def _has_console(settings: Settings) -> bool:
    return settings.console and settings.role != "generation"


def _tend_until_stopped(supervisor: Supervisor, *, url: str, has_console: bool, say: Callable[[str], None]) -> None:
    announced = False
    with httpx.Client(base_url=url, timeout=1.0, trust_env=False) as http:
        while not supervisor.stop_requested:
            supervisor.tend()
            if not announced and _is_ready(http):
                announced = True
                say(f"ready at {url} (API documentation at {url}/docs); Ctrl-C stops it")
                if has_console:
                    say(f"open {url}/console in a browser to ask, correct and watch the model")
            time.sleep(_LOOK_SECONDS)


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == _OK
    except httpx.TransportError:
        return False


@contextmanager
def hold_data(data: Path) -> Iterator[None]:
    """Lock the data folder until the block ends or the process dies. Raises InvalidSettings if it is locked."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "up.lock").open("a+")
    except OSError as error:
        raise InvalidSettings(
            f"the data folder {data} cannot be used: {error.strerror}; choose another by --data"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InvalidSettings(
                f"the data folder {data} is in use by another `errata up`, process {lock.read().strip() or 'unknown'}: "
                "stop it, or choose another folder by --data"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _free_port(host: str, port: int) -> int:
    """Wait a few seconds for a stopping predecessor to release the port, and return it. 0: choose a free port."""
    deadline = time.monotonic() + _PORT_WAIT_SECONDS
    while True:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except OSError as error:
            if time.monotonic() > deadline:
                raise InvalidSettings(
                    f"cannot listen on {host}:{port}: {error.strerror}; choose another by --host and --port"
                ) from None
            time.sleep(_LOOK_SECONDS)
