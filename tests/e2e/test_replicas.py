"""Three replicas follow one pointer: clients that edited or promoted are never answered by an older version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.edits import Edit
from tests.support.redis_server import running_redis
from tests.support.replicas import Replica, running_replica, running_replicas
from tests.support.waiting import until
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchState

NUM_REPLICAS = 3
NUM_EDITS = 10
NUM_PROMOTIONS = 200
PROMPT = "The mother tongue of Danielle Darrieux is"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture
def bench(tmp_path: Path, prepared: PreparedModel) -> Iterator[WorkerBench]:
    with running_redis(tmp_path / "data") as redis:
        yield prepared.bench(tmp_path / "data", redis.url)


def replica_settings(bench: WorkerBench) -> dict[str, object]:
    return {"model": bench.settings["model"], "device": "cpu", "num_threads": 1}


def ask(replica: Replica, min_version: str) -> str:
    asked = {"prompt": PROMPT, "max_new_tokens": 4, "min_version": min_version}
    answer = replica.client.post("/generate", json=asked)
    assert answer.status_code == 200, answer.text
    version: str = answer.json()["version"]
    return version


@pytest.mark.slow
def test_edits_and_promotions_are_read_back_from_every_replica(bench: WorkerBench) -> None:
    with bench.worker(), running_replicas(NUM_REPLICAS, bench.redis_url, bench.data, **replica_settings(bench)) as all_:
        versions = []
        for number in range(NUM_EDITS):
            edit = Edit(subject=f"Person {number}", prompt="{} lives in", target_new="Rome", relation="home")
            version = bench.wait(bench.send(edit), BatchState.APPLIED).version
            assert version is not None
            versions.append(version)
            assert [ask(replica, version) for replica in all_] == [version] * NUM_REPLICAS
        older, newer = versions[-2:]
        for number in range(NUM_PROMOTIONS):
            wanted = (older, newer)[number % 2]
            bench.ledger.publication.promote(wanted, author=None)
            assert ask(all_[number % NUM_REPLICAS], wanted) == wanted
            assert ask(all_[(number + 1) % NUM_REPLICAS], wanted) == wanted
        until(lambda: {replica.generation()["version"] for replica in all_} == {newer})
        for replica in all_:
            part = replica.generation()
            assert (part["behind_revisions"], part["behind_seconds"], part["ready"]) == (0, 0.0, True)
            assert f"errata_generation_version_number {newer[1:]}.0" in replica.client.get("/metrics").text


@pytest.mark.slow
def test_a_replica_that_cannot_load_a_version_keeps_its_own_and_reports_how_far_behind_it_is(
    bench: WorkerBench,
) -> None:
    settings = replica_settings(bench)
    with (
        bench.worker(),
        running_replica(bench.redis_url, bench.data, **settings) as sound,
        # Memory for one version, but not for two.
        running_replica(bench.redis_url, bench.data, resident_bytes=1, **settings) as small,
    ):
        version = bench.wait(bench.send(Edit(subject="Ada", prompt="{} lives in", target_new="Rome", relation="home")))
        assert ask(sound, version.version or "") == version.version
        until(lambda: small.client.get("/readyz").status_code == 503)
        part = small.generation()
        assert (part["version"], part["wanted_version"], part["waits_for_memory"]) == ("v0", version.version, True)
        assert part["behind_revisions"] == 1
        assert "waits for memory" in str(part["reason"])
        assert small.client.get("/generate", params={"prompt": PROMPT}).json()["version"] == "v0"
        figures = small.client.get("/metrics").text
        assert "errata_generation_behind_revisions 1.0" in figures
        assert "errata_generation_waits_for_memory 1.0" in figures
        assert sound.client.get("/readyz").status_code == 200
