"""Redis and the service are killed while clients send: nothing that was accepted is lost or done twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from editing_core.demo.facts import Fact, load_facts, load_relations
from service.client.client import Client
from tests.support.errata_process import errata_up

NUM_CLIENTS = 4
BATCHES_PER_CLIENT = 5
PATIENCE_SECONDS = 280.0

pytestmark = pytest.mark.slow


class Sender(threading.Thread):
    """Sends its batches one after the other, each until it is answered, and keeps the ids of those accepted."""

    def __init__(self, url: str, number: int, facts: list[Fact]) -> None:
        super().__init__()
        self.url, self.number, self.facts = url, number, facts
        self.accepted: list[str] = []
        self.unexpected: list[int] = []

    def run(self) -> None:
        for i, fact in enumerate(self.facts):
            body = {
                "edits": [
                    {
                        "subject": fact.subject,
                        "prompt": load_relations()[fact.relation].phrasings[0],
                        "target_new": fact.object,
                        "relation": fact.relation,
                    }
                ]
            }
            key = f"client-{self.number}-batch-{i}"
            while (batch := self._send(body, key)) is None:
                time.sleep(0.2)
            self.accepted.append(batch)

    def _send(self, body: dict[str, object], key: str) -> str | None:
        try:
            answer = httpx.post(f"{self.url}/edits", json=body, headers={"Idempotency-Key": key}, timeout=20)
        except httpx.TransportError:
            return None
        if answer.status_code in (200, 202):
            return str(answer.json()["id"])
        if answer.status_code not in (429, 503):
            self.unexpected.append(answer.status_code)
        return None


@pytest.mark.timeout(400)
def test_nothing_accepted_is_lost_when_redis_and_the_service_are_killed_under_load(tmp_path: Path) -> None:
    facts = list(load_facts())[:: len(load_facts()) // (NUM_CLIENTS * BATCHES_PER_CLIENT)]
    with errata_up(tmp_path) as running:
        senders = [Sender(running.url, n, facts[n::NUM_CLIENTS][:BATCHES_PER_CLIENT]) for n in range(NUM_CLIENTS)]
        for sender in senders:
            sender.start()
        for word in ("redis", "service.serve", "redis"):
            time.sleep(2.0)
            _kill(running.process.pid, word)
        for sender in senders:
            sender.join(PATIENCE_SECONDS)
            assert not sender.is_alive()
            assert sender.unexpected == []
        accepted = [batch for sender in senders for batch in sender.accepted]
        assert len(set(accepted)) == NUM_CLIENTS * BATCHES_PER_CLIENT
        with Client(running.url, timeout_seconds=60.0) as client:
            ended = [client.wait_for_batch(batch, timeout_seconds=PATIENCE_SECONDS) for batch in accepted]
            known = [batch.id for batch in client.batches()]
            live = [edit.id for edit in client.edits(status="live")]
    assert {batch.status for batch in ended} <= {"applied", "rejected"}
    assert sorted(known) == sorted(accepted)
    assert len(live) == len(set(live)) == sum(batch.status == "applied" for batch in ended)


def _kill(supervisor: int, word: str) -> None:
    for child in psutil.Process(supervisor).children(recursive=True):
        if any(word in part for part in child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
            return
    raise AssertionError(f"there is no process {word}")
