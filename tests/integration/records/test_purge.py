"""After a purge the text is found nowhere: no file of the data folder, no key of Redis, not in its append-only file."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from editing_core.durable import locked
from editing_core.edits import Edit
from editing_core.errors import NotFound
from editing_core.versions.layout import StoreLayout
from tests.support.erasure import SECRETS, await_purged, found_in_files, found_in_redis, secret_edit
from tests.support.facts import fact, take_in
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.audit.chain import verify_chain
from worker.protocol.connections import connect_queue
from worker.protocol.entities import BatchState, EditStatus
from worker.protocol.errors import NotErasable
from worker.protocol.keys import Key


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture
def place(prepared: PreparedModel, tmp_path: Path) -> Iterator[WorkerBench]:
    """A store with its Redis in the data folder, as `errata up` has it."""
    with running_redis(tmp_path / "data") as redis:
        yield prepared.bench(tmp_path / "data", redis.url)


def rolled_back(place: WorkerBench, *others: Edit) -> str:
    """Apply the edit, with others after it, then take it out of force; its id."""
    with place.worker():
        batch = place.send(secret_edit())
        assert place.wait(batch).status == BatchState.APPLIED
        for other in others:
            assert place.wait(place.send(other)).status == BatchState.APPLIED
        place.ledger.publication.promote("v0", author="eve")
        assert place.wait(place.send(fact("Chopin", "Oslo"))).status == BatchState.APPLIED
    (edit,) = place.ledger.batches.edits(batch)
    return edit.id


def require_gone(place: WorkerBench, edit: str) -> None:
    assert found_in_redis(place.redis_url) == []
    assert found_in_files(place.data) == []
    record = place.ledger.edits.get(edit)
    assert record.purged is not None
    assert record.purged["hash"] == secret_edit().content_key()
    assert (record.accepted.edit.subject, record.report) == ("", None)
    assert place.ledger.edits.about(SECRETS[0]) == []
    assert [row.id for row in place.ledger.batches.edits(record.accepted.batch)] == [edit]
    assert verify_chain(place.ledger.audit.lines()).fault is None
    whats = [entry.what for entry in place.ledger.audit.page(edit=edit, limit=500).items]
    assert (whats[0], whats.count("purge.done"), whats.count("purge.asked")) == ("purge.done", 1, 1)


def test_purged_edit_leaves_no_text_anywhere_and_the_rest_goes_on(place: WorkerBench) -> None:
    edit = rolled_back(place, fact("Ada", "Rome"))
    digest = place.ledger.versions.get(place.ledger.versions.pointer().version).digest
    (place.data / "exports" / "v1-hf").mkdir(parents=True)
    (place.data / "exports" / "v3-peft").mkdir(parents=True)
    (place.data / "exports" / "v3-peft" / "README.md").write_text("edits: Chopin")
    assert found_in_files(place.data) != []
    assert found_in_redis(place.redis_url) != []

    asked = place.ledger.erasure.ask(edit, author="eve", reason="asked for")
    assert (asked.state, asked.versions) == ("asked", ("v1", "v2"))
    with pytest.raises(NotFound, match="no longer kept"):
        place.ledger.publication.promote("v1", author="eve")
    with place.worker():
        await_purged(place, edit)
        require_gone(place, edit)
        assert place.ledger.erasure.ask(edit, author="ann").author == "eve", "a repeated request gives the same answer"
        assert place.store.list() == ["v0", "v3"]
        assert [path.name for path in (place.data / "exports").iterdir()] == ["v3-peft"]
        assert place.ledger.versions.get("v3").digest == digest == place.store.read_manifest("v3").digest
        place.store.load_tensors("v3", "cpu")
        batch = place.send(fact("Zola", "Rome"))
        assert place.wait(batch).status == BatchState.APPLIED
    done = place.ledger.audit.page(edit=edit).items[0]
    assert (done.fields["append_only_file"], done.fields["content"]) == ("rewritten", secret_edit().content_key())


@pytest.mark.slow
@pytest.mark.parametrize(
    "deaths",
    [
        [
            ("before", "publication.mark_removed"),
            ("after", "publication.mark_removed"),
            ("before", "erasure.redact_records"),
        ],
        [
            ("after", "erasure.redact_records"),
            ("before", "erasure.erase_row"),
            ("after", "erasure.erase_row"),
            ("before", "erasure.end"),
        ],
    ],
    ids=["among the files", "in the ledger"],
)
def test_purge_whose_workers_are_killed_at_every_step_is_finished_by_the_next(
    place: WorkerBench, deaths: list[tuple[str, str]]
) -> None:
    edit = rolled_back(place)
    place.ledger.erasure.ask(edit, author="eve")
    for death in deaths:
        with place.worker(dying=death) as process:
            assert place.wait_for_death(process) == -signal.SIGKILL, death
    with place.worker():
        await_purged(place, edit)
    require_gone(place, edit)


def test_edit_that_is_live_open_or_in_a_pinned_version_is_refused_with_the_way_out(place: WorkerBench) -> None:
    ledger = place.ledger
    with place.worker():
        batch = place.send(secret_edit())
        assert place.wait(batch).status == BatchState.APPLIED
    (live,) = ledger.batches.edits(batch)
    with pytest.raises(NotErasable, match="in force in v1: take it out first"):
        ledger.erasure.ask(live.id, author=None)
    (waiting,) = ledger.batches.edits(place.send(fact("Ada", "Rome")))
    with pytest.raises(NotErasable, match=f"batch {waiting.batch} is queued: cancel it"):
        ledger.erasure.ask(waiting.id, author=None)
    ledger.publication.promote("v0", author=None)
    ledger.versions.pin("v1", author=None)
    with pytest.raises(NotErasable, match="pinned version v1 holds it: unpin"):
        ledger.erasure.ask(live.id, author=None)
    assert ledger.erasure.pending() == []
    assert not ledger.versions.get("v1").removed
    with pytest.raises(NotFound):
        ledger.erasure.ask("e-none", author=None)


def test_edit_that_never_came_into_a_version_is_purged_with_the_error_that_quotes_it(place: WorkerBench) -> None:
    subject = SECRETS[0]
    prompt = f"{{}} {' '.join(['was'] * 3_000)} written {SECRETS[3]} by"
    batch = place.send(Edit(subject=subject, prompt=prompt, target_new=SECRETS[1], relation="r"))
    (edit,) = place.ledger.batches.edits(batch)
    with place.worker():
        assert subject in str(place.wait(batch).error)
        place.ledger.edits.set_reports({"e-other": {"neighbors": [{"prompt": f"{subject} wrote", "kept": True}]}})
        place.ledger.erasure.ask(edit.id, author=None)
        await_purged(place, edit.id)
    assert found_in_redis(place.redis_url) == []
    assert found_in_files(place.data) == [], "the worker's log is one of them"
    assert place.ledger.edits.get(edit.id).status == EditStatus.REJECTED
    assert place.ledger.batches.get(batch).error == f"[erased] ({edit.id})"


def test_texts_that_another_edit_brought_in_too_stay_with_that_one(place: WorkerBench) -> None:
    mine, other = fact(SECRETS[0], "Rome"), fact("Ada", "Rome")
    ids = []
    for edit in (mine, other):
        batch = place.send(edit)
        place.ledger.transitions.cancel(batch)
        ids.append(place.ledger.batches.edits(batch)[0].id)
    place.ledger.edits.set_reports({ids[1]: {"text": f"Rome, of {SECRETS[0]}"}})
    place.ledger.erasure.ask(ids[0], author=None)
    with place.worker():
        await_purged(place, ids[0])
    assert place.ledger.edits.get(ids[1]).accepted.edit == other
    assert place.ledger.edits.get(ids[1]).report == {"text": "Rome, of [erased]"}


@pytest.mark.slow
def test_purge_waits_while_a_version_that_must_go_is_read(place: WorkerBench) -> None:
    edit = rolled_back(place)
    place.ledger.erasure.ask(edit, author=None)
    with place.worker():
        with locked(StoreLayout(place.data).version_dir("v1"), shared=True):
            time.sleep(3.0)
            assert place.ledger.erasure.pending() == [edit]
        await_purged(place, edit)
    require_gone(place, edit)


def test_edit_beneath_a_live_one_is_purged_from_under_it(place: WorkerBench) -> None:
    older, newer = secret_edit(), replace(secret_edit(), target_new="Rome", source=None)
    with place.worker():
        first = place.send(older)
        assert place.wait(first).status == BatchState.APPLIED
        second = place.send(newer)
        live = place.wait(second).version
        assert live is not None
        (edit,) = place.ledger.batches.edits(first)
        assert edit.id in place.ledger.versions.superseded_edit_ids(live)
        digest = place.store.read_manifest(live).digest
        place.ledger.erasure.ask(edit.id, author=None)
        await_purged(place, edit.id)
        manifest = place.store.read_manifest(live)
        assert (manifest.digest, manifest.superseded) == (digest, ())
        assert manifest.purged == {edit.id: older.content_key()}
        assert place.ledger.versions.superseded_edit_ids(live) == frozenset()
        assert SECRETS[1].encode() not in StoreLayout(place.data).manifest_file(live).read_bytes()
        assert place.store.list() == ["v0", live]
        (top,) = place.ledger.batches.edits(second)
        taken_out = place.wait(take_in(place.ledger, remove=[top.id]).record.spec.id)
        assert taken_out.version is not None
        assert place.store.read_manifest(taken_out.version).edit_set.everything == ()


def test_what_was_sent_with_the_batch_is_forgotten(place: WorkerBench) -> None:
    batch = place.send(secret_edit(), idempotency=("ann", "k"))
    place.ledger.transitions.cancel(batch)
    (edit,) = place.ledger.batches.edits(batch)
    place.ledger.erasure.ask(edit.id, author=None)
    with place.worker():
        await_purged(place, edit.id)
    assert not list(connect_queue(place.redis_url).scan_iter(f"{place.ledger.keys.at(Key.IDEMPOTENCY, '*')}"))
