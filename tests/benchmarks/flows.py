"""The files of the product that a reader enters when following one request or job.

``python -m tests.benchmarks.flows`` runs four flows in this process, against a real Redis and a tiny model: POST
/edits, the z of a shard, a commit, and a streamed GET /generate. It counts the files with a function that was called,
in any thread, and prints a Markdown table. ``--list`` also prints the files. Imports do not count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from starlette.testclient import TestClient

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.api.app import create_app
from tests.support.facts import fact
from tests.support.generation import publish, serving, write_version
from tests.support.redis_server import open_bench, running_redis
from tests.support.tiny_loaded import tiny_loaded
from tests.support.worker_process import WorkerBench, prepare_model
from worker.main import open_worker
from worker.protocol.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = tuple(f"{ROOT}/{name}/" for name in ("errata", "service", "worker", "editing_core"))


class Trace:
    """Records the product's files in which functions are called, in all threads that start after ``installed``."""

    def __init__(self) -> None:
        self._files: set[str] | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Call this before the threads of a flow start."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]  # None removes the function

    def files_of(self, flow: Callable[[], object]) -> list[str]:
        """Run the flow. Return the files that it entered, relative to the repository."""
        self._files = files = set()
        try:
            flow()
        finally:
            self._files = None
        return sorted(file.removeprefix(f"{ROOT}/") for file in files)

    def _on_event(self, frame: FrameType, event: str, _argument: Any) -> None:
        files = self._files
        if files is not None and event == "call" and frame.f_code.co_name != "<module>":
            file = frame.f_code.co_filename
            if file.startswith(PACKAGES):
                files.add(file)


def trace_flows(redis_url: str, folder: Path) -> dict[str, list[str]]:
    """The files of each flow."""
    trace = Trace()
    (folder / "prepared").mkdir()
    bench = prepare_model(folder / "prepared", "gptj").bench(folder / "data", redis_url)
    with trace.installed():
        return {**_worker_flows(trace, bench), **_stream_flow(trace, redis_url, folder / "served")}


def _worker_flows(trace: Trace, bench: WorkerBench) -> dict[str, list[str]]:
    settings = Settings.model_validate({**bench.settings, "data": bench.data, "redis_url": bench.redis_url})
    worker = open_worker(settings)
    ledger = bench.ledger
    body = {"edits": [fact("Paul", "Oslo").to_json()]}
    app = create_app(settings.model_copy(update={"role": "api"}), ledger, bench.queue)
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1)) as client:
        accepted: list[str] = []

        def post() -> None:
            answer = client.post("/edits", json=body)
            assert answer.status_code == 202, answer.text
            accepted.append(answer.json()["id"])

        post()  # the first request builds what later ones share
        worker.stages.targets.run(accepted.pop(), 0)
        worker.stages.committer.run()
        body = {"edits": [fact("Anna", "Rome").to_json()]}
        posted = trace.files_of(post)
    (batch,) = accepted
    shard = trace.files_of(lambda: worker.stages.targets.run(batch, 0))
    commit = trace.files_of(worker.stages.committer.run)
    assert ledger.batches.get(batch).status == "applied", ledger.batches.get(batch)
    return {"POST /edits": posted, "z of a shard": shard, "commit": commit}


def _stream_flow(trace: Trace, redis_url: str, data: Path) -> dict[str, list[str]]:

    loaded = tiny_loaded("gptj")
    bind_identity(data, model=loaded.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(data))
    with open_bench(redis_url) as bench:
        publish(bench.ledger, write_version(store, loaded, "v1"))
        with serving(bench, store, loaded) as (_, client):

            def stream() -> None:
                asked = {"prompt": "The boat", "max_new_tokens": 4, "stream": True}
                with client.stream("GET", "/generate", params=asked) as answer:
                    assert (text := "".join(answer.iter_text())).count("data:") > 1, text

            stream()
            return {"GET /generate, streamed": trace.files_of(stream)}


def main() -> int:
    """Trace and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="also print the files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="errata-") as name, running_redis(Path(name) / "redis") as redis:
        flows = trace_flows(redis.url, Path(name))
    print("| flow | files entered |\n|---|---:|")
    for flow, files in flows.items():
        print(f"| {flow} | {len(files)} |")
    for flow, files in flows.items() if options.list else ():
        print(f"\n{flow}:\n  " + "\n  ".join(files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
