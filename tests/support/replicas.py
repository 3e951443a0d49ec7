"""Generation in processes of its own, as it is in production, over one store and one Redis."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.api_process import STOP_SECONDS, listening_url, start_service
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Replica:
    """One running process."""

    process: subprocess.Popen[str]
    client: httpx.Client

    @property
    def url(self) -> str:
        """The address that it listens on."""
        return str(self.client.base_url).rstrip("/")

    def generation(self) -> dict[str, object]:
        """The ``generation`` part of its ``/readyz``."""
        part: dict[str, object] = self.client.get("/readyz").json()["parts"]["generation"]
        return part


@contextmanager
def running_replica(redis_url: str, data: Path, **settings: object) -> Iterator[Replica]:
    """Role ``generation`` on a free port, once it is ready."""
    process = start_service(**{"redis_url": redis_url, "data": data, "role": "generation", **settings})
    assert process.stderr is not None
    log = process.stderr
    reading = threading.Thread(target=log.read)  # a full pipe would hold the process up
    try:
        url = listening_url(log)
        reading.start()
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield Replica(process, client)
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
    finally:
        process.kill()
        process.wait()
        if reading.ident is not None:
            reading.join()
        log.close()


@contextmanager
def running_replicas(count: int, redis_url: str, data: Path, **settings: object) -> Iterator[list[Replica]]:
    """Several of them, all ready."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(running_replica(redis_url, data, **settings)) for _ in range(count)]
        for replica in replicas:
            until(lambda replica=replica: replica.client.get("/readyz").status_code == 200)
        yield replicas
