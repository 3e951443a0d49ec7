"""API, generation and worker are replaced one after the other under load: nothing fails and no batch is lost."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
import pytest

from tests.support.api_process import edit, listening_url, start_service
from tests.support.redis_server import running_redis
from tests.support.waiting import until
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchState

STOP_SECONDS = 30
PROMPT = {"prompt": "The mother tongue of Ada is", "max_new_tokens": 24}
TRIES = 20


@dataclass(slots=True)
class Balancer:
    """The addresses of one role, as a load balancer knows them; a connection that fails is tried at the next one."""

    urls: list[str] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def start(self, **settings: object) -> str:
        process = start_service(**settings)
        assert process.stderr is not None
        url = listening_url(process.stderr)
        reader = threading.Thread(target=_read_to_its_end, args=(process.stderr,))
        reader.start()
        self.readers.append(reader)
        until(lambda: httpx.get(f"{url}/readyz", timeout=10, trust_env=False).status_code == 200)
        self.processes[url] = process
        self.urls.append(url)
        return url

    def replace(self, **settings: object) -> None:
        """A new process answers, then an old one is asked to end, and does."""
        old = self.urls[0]
        self.start(**settings)
        self.urls.remove(old)
        self.processes[old].send_signal(signal.SIGTERM)
        assert self.processes[old].wait(STOP_SECONDS) == 0

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for reader in self.readers:
            reader.join()

    def ask(self, client: httpx.Client, method: str, path: str, **request: object) -> httpx.Response:
        for number in range(TRIES):
            url = self.urls[number % len(self.urls)]
            try:
                answer = client.request(method, url + path, **request)  # type: ignore[arg-type]
            except httpx.ConnectError:
                continue
            except httpx.RemoteProtocolError as error:  # a kept connection was closed; half an answer is a failure
                if "without sending a response" not in str(error):
                    raise
                continue
            if answer.status_code >= 500:
                self.refused.append(f"{answer.status_code} {answer.text}")
            return answer
        raise AssertionError(f"nobody answered {path}")


def _read_to_its_end(log: IO[str]) -> None:
    with log:
        log.read()


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBench]:
    prepared: PreparedModel = prepare_model(tmp_path_factory.mktemp("model"), "gptj")
    with running_redis(tmp_path / "data") as redis:
        yield prepared.bench(tmp_path / "data", redis.url)


def _under_load(work: Callable[[int], None], stopping: threading.Event, failures: list[Exception]) -> threading.Thread:
    def run() -> None:
        try:
            for number in itertools.count():
                if stopping.is_set():
                    return
                work(number)
        except (AssertionError, httpx.HTTPError) as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_rolling_restart_under_load_fails_no_request_and_loses_no_batch(bench: WorkerBench) -> None:
    common: dict[str, object] = {"redis_url": bench.redis_url, "data": bench.data, "stop_seconds": 20}
    model = {"model": bench.settings["model"], "device": "cpu", "num_threads": 1, "role": "generation"}
    apis, generations = Balancer(), Balancer()
    batches: list[str] = []
    failures: list[Exception] = []
    answers = {"text": 0, "stream": 0}
    stopping = threading.Event()
    client = httpx.Client(timeout=60, trust_env=False)

    def send(number: int) -> None:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        answer = apis.ask(client, "POST", "/edits", json={"edits": [edit(f"Person {number}")]}, headers=key)
        assert answer.status_code in {200, 202}, answer.text
        batches.append(answer.json()["id"])
        stopping.wait(0.2)

    def ask(_number: int) -> None:
        answer = generations.ask(client, "POST", "/generate", json=PROMPT)
        assert answer.status_code == 200, answer.text
        assert answer.json()["finish_reason"] in {"stop", "length"}
        answers["text"] += 1

    def stream(_number: int) -> None:
        answer = generations.ask(client, "POST", "/generate", json={**PROMPT, "stream": True})
        assert answer.status_code == 200, answer.text
        assert '"usage"' in answer.text, answer.text
        answers["stream"] += 1

    try:
        with bench.worker() as first:
            for _ in range(2):
                apis.start(**common, role="api")
                generations.start(**common, **model)
            threads = [_under_load(work, stopping, failures) for work in (send, ask, stream)]
            for _ in range(2):
                apis.replace(**common, role="api")
                generations.replace(**common, **model)
            first.terminate()
            assert first.wait(STOP_SECONDS) == 0
            with bench.worker():
                stopping.set()
                for thread in threads:
                    thread.join()
                ends = {bench.wait(batch).status for batch in batches}
    finally:
        stopping.set()
        apis.kill()
        generations.kill()
        client.close()
    assert not failures, failures
    assert not apis.refused + generations.refused
    assert min(len(batches), *answers.values()) > 5
    assert ends == {BatchState.APPLIED}
