"""A backup of a running store is one moment of it, and becomes the same store elsewhere; or nothing at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from editing_core.versions.head import read_head, was_published
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile
from service.cli.backup.archive import unpack
from service.cli.main import run
from service.cli.output import ExitCode
from tests.support.facts import fact, take_in
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.audit.chain import read_line, verify_chain
from worker.protocol.connections import connect
from worker.protocol.entities import BatchOptions, BatchState
from worker.protocol.errors import LedgerDown
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.settings import fresh_environment
from worker.recovery import reconcile_pointer


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture
def place(prepared: PreparedModel, tmp_path: Path) -> Iterator[WorkerBench]:
    """A store with its Redis in the data folder, as `errata up` has it."""
    with running_redis(tmp_path / "data") as redis:
        yield prepared.bench(tmp_path / "data", redis.url)


class Traffic(threading.Thread):
    """Sends batches one after the other, and moves the pointer to and fro, until it is stopped."""

    def __init__(self, place: WorkerBench) -> None:
        super().__init__(daemon=True)
        self._place = place
        self.stopped = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.stopped.wait(0.25):
            number += 1
            self.accepted.append(self._place.send(fact(f"Person {number}", "Rome"), idempotency=("ann", str(number))))
            if number % 3 == 0:
                with suppress(LedgerDown):
                    self._place.ledger.transitions.cancel(self.accepted[-1], author="ann")


def restored_ledger(data: Path, url: str) -> Ledger:
    return Ledger(connect(url), Keys(open_identity(data).id))


def all_of(ledger: Ledger) -> dict[str, object]:
    """What people can ask of a ledger."""
    batches = ledger.batches.page(limit=500).items
    return {
        "batches": batches,
        "edits": ledger.edits.find(limit=500).items,
        "by batch": {batch.spec.id: ledger.batches.edits(batch.spec.id) for batch in batches},
        "about": ledger.edits.about("Ada"),
        "versions": ledger.versions.page().items,
        "pointer": ledger.versions.known_pointer(),
        "promotions": ledger.publication.promotions(),
        "live": ledger.versions.live_edit_ids(ledger.versions.pointer().version),
        "audit": list(ledger.audit.lines()),
        "pinned": ledger.versions.pinned(),
        "open": ledger.batches.count_open(),
    }


def test_backup_of_a_store_at_rest_is_the_same_store_elsewhere(
    place: WorkerBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = KeyFile(StoreLayout(place.data).api_keys).add("ann", ["admin"])
    with place.worker():
        for subject in ("Ada", "Zola"):
            assert place.wait(place.send(fact(subject, "Rome"))).status == BatchState.APPLIED
        place.ledger.versions.pin("v1", author="ann")
        place.ledger.publication.promote("v1", author="ann")
        waiting = place.send(fact("Chopin", "Oslo"), idempotency=("ann", "k"))
        assert place.wait(waiting).status == BatchState.APPLIED
        time.sleep(1.0)
        candidate = place.send(fact("Kepler", "Rome"), options=BatchOptions(promote="manual"))
        assert place.wait(candidate, BatchState.CANDIDATE).version == "v4"
    open_batch = place.send(fact("Lodz", "Rome"))
    before = all_of(place.ledger)
    target = tmp_path / "store.tar"
    assert run(["backup", str(target), "--data", str(place.data), "--redis", place.redis_url]) == ExitCode.OK
    assert "live version v3" in capsys.readouterr().out

    data = tmp_path / "elsewhere" / "data"
    assert run(["restore", str(target), "--data", str(data)]) == ExitCode.OK
    assert list((tmp_path / "elsewhere").iterdir()) == [data]
    with running_redis(data) as redis:
        other = WorkerBench(data=data, redis_url=redis.url, settings=place.settings)
        after = all_of(other.ledger)
        last = read_line(after["audit"].pop())  # type: ignore[attr-defined]
        assert (last.what, last.who) == ("ledger.restored", "errata restore")
        assert after == before
        assert verify_chain(other.ledger.audit.lines()).fault is None
        assert other.ledger.audit.page(version="v3").items[0].what == "version.published"
        assert KeyFile(StoreLayout(data).api_keys).find(secret) is not None
        assert reconcile_pointer(other.ledger, other.store) == before["pointer"]
        again = take_in(other.ledger, fact("Chopin", "Oslo"), idempotency=("ann", "k"))
        assert (again.replayed, again.record.spec.id) == (True, waiting), "a repeat is still known"
        assert other.ledger.versions.candidates() == place.ledger.versions.candidates()
        assert not was_published(StoreLayout(data), "v4"), "a candidate is not taken for live where Redis is lost"
        for version in ("v1", "v2", "v3", "v4"):
            assert other.store.read_manifest(version) == place.store.read_manifest(version)
            other.store.load_tensors(version, "cpu")
        with other.worker():
            assert other.wait(open_batch).status == BatchState.APPLIED
        assert {row.accepted.edit.subject for row in other.ledger.edits.get_many(sorted(live(other)))} == {
            "Ada",
            "Chopin",
            "Lodz",
        }


def live(place: WorkerBench) -> frozenset[str]:
    return place.ledger.versions.live_edit_ids(place.ledger.versions.pointer().version)


@pytest.mark.slow
def test_a_backup_under_traffic_is_one_moment_and_running_work_continues(place: WorkerBench, tmp_path: Path) -> None:
    targets = [tmp_path / f"{number}.tar" for number in range(3)]
    with place.worker():
        traffic = Traffic(place)
        traffic.start()
        while place.ledger.versions.pointer().revision == 0:
            time.sleep(0.1)
        for target in targets:
            assert run(["backup", str(target), "--data", str(place.data), "--redis", place.redis_url]) == ExitCode.OK
        traffic.stopped.set()
        traffic.join()
    for target in targets:
        data = tmp_path / target.stem / "data"
        assert run(["restore", str(target), "--data", str(data)]) == ExitCode.OK
        with running_redis(data) as redis:
            other = WorkerBench(data=data, redis_url=redis.url, settings=place.settings)
            require_agreement(other)
    with running_redis(data) as redis:
        other = WorkerBench(data=data, redis_url=redis.url, settings=place.settings)
        waiting = other.ledger.batches.open()
        with other.worker():
            for record in waiting:
                assert other.wait(record.spec.id).is_final
        require_agreement(other)


def require_agreement(place: WorkerBench) -> None:
    """Ledger, files and audit tell one story."""
    ledger, head = place.ledger, read_head(StoreLayout(place.data))
    pointer = ledger.versions.pointer()
    assert head is not None
    assert (head.revision, head.version) == (pointer.revision, pointer.version)
    manifest = place.store.read_manifest(pointer.version)
    assert live(place) == {accepted.id for accepted in manifest.live}
    assert {row.id for row in ledger.versions.page(limit=500).items if not row.removed} == set(place.store.list())
    assert place.store.damaged() == {}
    batches = ledger.batches.page(limit=500).items
    for record in batches:
        edits = ledger.batches.edits(record.spec.id)
        assert len(edits) == record.spec.num_edits
        assert [edit.id for edit in edits] == ledger.edits.about(edits[0].edit.subject)
        if record.version is not None:
            assert record.spec.id in ledger.versions.get(record.version).batches
    assert ledger.batches.count_open() == sum(not record.is_final for record in batches)
    assert {row.accepted.batch for row in ledger.edits.find(limit=500).items} == {row.spec.id for row in batches}
    entries = [read_line(line) for line in ledger.audit.lines()]
    assert verify_chain(ledger.audit.lines()).fault is None
    accepted = [entry.fields["batch"] for entry in entries if entry.what == "batch.accepted"]
    assert sorted(accepted) == sorted(record.spec.id for record in batches)
    published = [entry for entry in entries if entry.what == "version.published"]
    assert len(published) == pointer.revision == len(ledger.publication.promotions())


@pytest.mark.parametrize("pause_seconds", [0.6, 1.0, pytest.param(1.6, marks=pytest.mark.slow)])
def test_backup_that_is_killed_leaves_no_file_under_its_name_and_the_next_one_tidies_up(
    place: WorkerBench, tmp_path: Path, pause_seconds: float
) -> None:
    take_in(place.ledger, *(fact(f"Person {i}", "Rome") for i in range(2_000)), shard_size=5_000)
    for number in range(4):
        (StoreLayout(place.data).artefacts_dir / f"large-{number}.bin").write_bytes(os.urandom(40_000_000))
    folder = tmp_path / "backups"
    folder.mkdir()
    command = [sys.executable, "-m", "service.cli.main", "backup", str(folder / "b.tar")]
    environment = fresh_environment(data=place.data, redis_url=place.redis_url)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(pause_seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not (folder / "b.tar").exists():  # what has its name is whole: see below
        assert run(["backup", str(folder / "b.tar"), "--data", str(place.data), "--redis", place.redis_url]) == 0
    assert [path.name for path in folder.iterdir()] == ["b.tar"]
    unpack(folder / "b.tar", tmp_path / "out", on_bytes=lambda _: None)
