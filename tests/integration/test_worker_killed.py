"""What happens to a batch when its worker is killed, stopped, or cannot: it ends once, as if nothing had happened."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from editing_core.versions.layout import StoreLayout
from tests.support.facts import fact
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchRecord, BatchState, EditStatus

PHASES = (
    ("after", "transitions.progress:computing"),
    ("after", "transitions.progress:applying"),
    ("after", "transitions.progress:checking"),
    ("before", "publication.publish"),
    ("after", "publication.publish"),
)
"""In the order in which a batch meets them: each worker takes it one step further."""
BETWEEN = (
    ("after", "transitions.begin_shard"),
    ("before", "transitions.shard_done"),
    ("after", "transitions.shard_done"),
    ("after", "transitions.begin_commit"),
    ("before", "transitions.move:checking"),
    ("before", "edits.set_reports"),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


def undisturbed(place: WorkerBench) -> BatchRecord:
    batch = place.send(fact("Ada", "Rome"), fact("Chopin", "Oslo"))
    with place.worker():
        return place.wait(batch)


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [PHASES, BETWEEN])
def test_batch_whose_workers_are_killed_in_every_phase_ends_as_if_nothing_had_happened(
    prepared: PreparedModel, redis_url: str, tmp_path: Path, deaths: Sequence[tuple[str, str]]
) -> None:
    place = prepared.bench(tmp_path / "killed", redis_url, max_attempts=len(deaths) + 1)
    batch = place.send(fact("Ada", "Rome"), fact("Chopin", "Oslo"))
    for death in deaths:
        with place.worker(dying=death) as process:
            assert place.wait_for_death(process) == -signal.SIGKILL, death
    with place.worker():
        next_batch = place.send(fact("Zola", "Rome"))
        next_record = place.wait(next_batch)
    record, ledger = place.ledger.batches.get(batch), place.ledger
    assert record.status == next_record.status == BatchState.APPLIED
    assert ledger.versions.pointer().revision == 2
    assert [row.status for row in ledger.edits.find().items] == [EditStatus.LIVE] * 3
    assert record.version is not None
    assert next_record.version is not None
    assert place.store.read_manifest(next_record.version).parent == record.version
    assert place.store.read_manifest(record.version).parent == "v0"
    assert place.store.list() == ["v0", record.version, next_record.version]
    assert [edit.batch for edit in place.store.read_manifest(next_record.version).live].count(batch) == 2

    same = undisturbed(prepared.bench(tmp_path / "undisturbed", redis_url))
    assert same.version == "v1"
    expected = WorkerBench(data=tmp_path / "undisturbed", redis_url=redis_url, settings={}).store
    assert place.store.read_manifest(record.version).digest == expected.read_manifest("v1").digest


@pytest.mark.slow
def test_commit_begins_again_when_the_pointer_moves_just_before_it_would_publish(
    prepared: PreparedModel, redis_url: str, tmp_path: Path
) -> None:
    place = prepared.bench(tmp_path / "data", redis_url)
    first = undisturbed(place)
    batch = place.send(fact("Zola", "Rome"))
    with place.worker(dying=("before", "publication.publish", "v0")):
        record = place.wait(batch)
    assert record.status == BatchState.APPLIED
    assert record.version is not None
    manifest = place.store.read_manifest(record.version)
    assert (manifest.parent, [edit.batch for edit in manifest.live]) == ("v0", [batch])
    assert place.ledger.versions.pointer().revision == 3
    assert place.store.list() == ["v0", "v1", record.version], "what lost the race is gone"
    assert {row.status for row in place.ledger.edits.find(batch=first.spec.id).items} == {EditStatus.ROLLED_BACK}


@pytest.mark.slow
def test_batch_whose_commits_were_killed_too_often_is_failed_and_does_not_harm_its_neighbours(
    prepared: PreparedModel, redis_url: str, tmp_path: Path
) -> None:
    place = prepared.bench(tmp_path / "data", redis_url, max_attempts=1)
    bad = place.make_ready(fact("Ada", "Rome"))
    with place.worker(dying=("after", "transitions.progress:applying")) as process:
        assert place.wait_for_death(process) == -signal.SIGKILL
    good = place.make_ready(fact("Chopin", "Oslo"))
    with place.worker():
        good_record, bad_record = place.wait(good), place.wait(bad)
    assert (good_record.status, bad_record.status) == (BatchState.APPLIED, BatchState.FAILED)
    assert bad_record.error is not None
    assert "begun 1 times" in bad_record.error
    assert "stopped without a word" in bad_record.error


def test_stopped_worker_gives_its_work_back_and_the_next_one_finishes_it(
    prepared: PreparedModel, redis_url: str, tmp_path: Path
) -> None:
    place = prepared.bench(tmp_path / "data", redis_url)
    batch = place.send(*(fact(f"Person {i}", "Rome") for i in range(24)))
    with place.worker() as process:
        place.wait(batch, BatchState.COMPUTING)
        process.send_signal(signal.SIGTERM)
        assert place.wait_for_death(process) == 0
    assert place.ledger.batches.get(batch).status == BatchState.COMPUTING
    with place.worker():
        assert place.wait(batch).status == BatchState.APPLIED


def test_batch_whose_commit_raises_three_times_is_failed_with_the_reason(
    prepared: PreparedModel, redis_url: str, tmp_path: Path
) -> None:
    """The first layer of a parallel block sees the token alone: too few different keys for its second moment."""
    place = WorkerBench(data=tmp_path, redis_url=redis_url, settings=prepared.settings | {"layers": "0,1"})
    batch = place.send(fact("Ada", "Rome"))
    with place.worker():
        record = place.wait(batch)
    assert record.status == BatchState.FAILED
    assert record.error is not None
    assert "3 times" in record.error
    assert "NotPositiveDefinite" in record.error


@pytest.mark.parametrize(
    ("damage", "waits_as"),
    [
        pytest.param(lambda whole: whole[:-1], BatchState.COMPUTING, marks=pytest.mark.slow),
        (lambda whole: whole[:-1] + b"?", BatchState.READY),
    ],
    ids=["shorter", "altered"],
)
def test_batch_waits_while_the_live_version_is_damaged_and_goes_in_once_it_is_repaired(
    prepared: PreparedModel,
    redis_url: str,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    waits_as: BatchState,
) -> None:
    place = prepared.bench(tmp_path / "data", redis_url)
    undisturbed(place)
    batch = place.send(fact("Zola", "Rome"))
    tensors = StoreLayout(place.data).tensor_file("v1")
    whole = tensors.read_bytes()
    tensors.write_bytes(damage(whole))
    with place.worker():
        while (held := place.ledger.batches.get(batch)).error is None:
            assert not held.is_final
        assert (held.status, "tried again" in held.error) == (waits_as, True)
        tensors.write_bytes(whole)
        record = place.wait(batch)
    assert (record.status, record.error) == (BatchState.APPLIED, None)


def test_one_bad_batch_of_a_group_is_rejected_alone(prepared: PreparedModel, redis_url: str, tmp_path: Path) -> None:
    """Sixteen edits change this model by more than its own size, one by half of it."""
    place = prepared.bench(tmp_path / "data", redis_url, max_delta_norm=1.5)
    bad = place.make_ready(*(fact(f"Person {i}", "Rome") for i in range(16)))
    good = place.make_ready(fact("Lodz", "Rome"))
    with place.worker():
        good_record, bad_record = place.wait(good), place.wait(bad)
    assert (good_record.status, bad_record.status) == (BatchState.APPLIED, BatchState.REJECTED)
    assert bad_record.error is not None
    assert "the change of" in bad_record.error
    assert {row.status for row in place.ledger.edits.find(batch=bad).items} == {EditStatus.REJECTED}
    manifest = place.store.read_manifest(place.ledger.versions.pointer().version)
    assert {edit.batch for edit in manifest.live} == {good}
