"""Requests that are still open when the service stops end with an error that says so."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import httpx

from editing_core.models.load import load_model
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.api_process import running_api
from tests.support.generation import publish, write_version
from tests.support.waiting import until

ASKED = {"prompt": ["Hamlet was written by"] * 64, "max_new_tokens": 200}
"""Some seconds of work."""
WAYS = ("whole", "stream")


def test_answers_that_do_not_end_in_time_fail_because_the_service_stops(redis_url: str, tmp_path: Path) -> None:
    settings = {"role": "generation", "model": "demo-gptj", "stop_seconds": 0.0, "num_threads": 1}
    found: dict[str, httpx.Response] = {}
    with running_api(redis_url, tmp_path, **settings) as service, service.client() as client:
        until(lambda: client.get("/readyz").json()["parts"]["generation"]["ready"])

        def ask(name: str, **options: object) -> None:
            found[name] = client.post("/generate", json=ASKED | options)

        threads = [threading.Thread(target=ask, args=(name,), kwargs={"stream": name == "stream"}) for name in WAYS]
        for thread in threads:
            thread.start()
        until(lambda: client.get("/readyz").json()["parts"]["generation"]["running"] > 0)
        service.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
    assert (found["whole"].status_code, found["whole"].headers["Retry-After"]) == (503, "2")
    assert "is stopping" in found["whole"].json()["detail"]
    assert found["whole"].json()["type"].endswith("/generation-stopping")
    last = found["stream"].text.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: problem"
    assert "is stopping" in json.loads(last[1].removeprefix("data: "))["detail"]


def test_requests_that_wait_for_a_version_fail_because_the_service_stops(redis_url: str, tmp_path: Path) -> None:
    # No memory for any version: the live one can never be served here.
    settings = {"role": "generation", "model": "demo-gptj", "stop_seconds": 0.0, "resident_bytes": 1}
    found: list[httpx.Response] = []
    with running_api(redis_url, tmp_path, min_version_wait_seconds=60.0, **settings) as service:
        store, loaded = VersionStore(StoreLayout(tmp_path)), load_model("demo-gptj", device="cpu")
        publish(service.ledger, write_version(store, loaded, "v1"))
        with service.client() as client:
            until(lambda: client.get("/readyz").json()["parts"]["generation"]["waits_for_memory"])
            asked = {"prompt": "x", "min_version": "v1"}
            waiting = threading.Thread(target=lambda: found.append(client.get("/generate", params=asked)))
            waiting.start()
            threading.Event().wait(1.0)
            service.process.send_signal(signal.SIGTERM)
            waiting.join()
    assert (found[0].status_code, found[0].json()["type"].rpartition("/")[2]) == (503, "service-stopping")
    assert "is stopping" in found[0].json()["detail"]
