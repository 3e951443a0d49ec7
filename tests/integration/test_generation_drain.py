"""What a service that stops says to those whose answers do not end in time."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import httpx

from tests.support.api_process import running_api
from tests.support.patience import until

ASKED = {"prompt": ["Hamlet was written by"] * 64, "max_new_tokens": 200}
"""Some seconds of work."""
WAYS = ("whole", "stream")


def test_answers_that_do_not_end_in_time_are_told_that_the_service_stops(redis_url: str, tmp_path: Path) -> None:
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
    last = found["stream"].text.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: problem"
    assert "is stopping" in json.loads(last[1].removeprefix("data: "))["detail"]
