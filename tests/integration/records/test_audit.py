"""Every action is logged once, in order, by the script that performs it; the audit outlives Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from editing_core.errors import NotFound
from editing_core.export.request import ExportRequest
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.api.access.keys import KeyFile
from service.cli.main import run
from service.cli.output import ExitCode
from tests.integration.test_recovery import full_store
from tests.support.facts import fact, take_in
from tests.support.ledger_steps import edit_of, lease_of, make_checking, make_ready, publish
from tests.support.published import publish as publish_one
from tests.support.redis_server import Bench
from worker.protocol.audit.chain import BEGINNING, follow_on, read_line, verify_chain
from worker.protocol.entities import BatchState
from worker.protocol.errors import LostRace, QueueFull
from worker.protocol.keys import COMMIT_UNIT, Key
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.signing import read_signing_key
from worker.recovery import reconcile_pointer
from worker.upkeep.audit_file import copy_audit, copy_notes, read_copy


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(StoreLayout(tmp_path))


def reported(ledger: Ledger, **wanted: str) -> list[tuple[str, str | None]]:
    return [(entry.what, entry.who) for entry in reversed(ledger.audit.page(limit=500, **wanted).items)]  # type: ignore[arg-type]


def test_every_change_is_logged_once_with_its_author(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    version = publish(ledger, batch, live=[edit_of(ledger, batch)])
    other = take_in(ledger, fact("Q", "x"), author="ann").record.spec.id
    ledger.transitions.cancel(other, author="bob")
    ledger.publication.promote("v0", author="eve")
    ledger.publication.promote(version, author=None)
    ledger.versions.pin(version, author="eve")
    ledger.versions.unpin(version, author="eve")
    ledger.publication.promote("v0", author="eve")
    assert ledger.publication.mark_removed([version]) == ledger.publication.mark_removed([version]) == [version]
    assert reported(ledger) == [
        ("batch.accepted", None),
        ("batch.applied", "worker"),
        ("version.published", "commit"),
        ("batch.accepted", "ann"),
        ("batch.cancelled", "bob"),
        ("version.rollback", "eve"),
        ("version.promoted", None),
        ("version.pinned", "eve"),
        ("version.unpinned", "eve"),
        ("version.rollback", "eve"),
        ("version.removed", "worker"),
    ]
    assert verify_chain(ledger.audit.lines()).fault is None


def test_rejected_and_failed_batches_are_logged_without_their_reasons(bench: Bench) -> None:
    ledger = bench.ledger
    rejected, failed = make_ready(ledger, ("Secret", "x")), take_in(ledger, fact("Q", "x")).record.spec.id
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, rejected)
    ledger.transitions.move(
        rejected, BatchState.REJECTED, expected=BatchState.CHECKING, lease=lease, error="Secret did not take"
    )
    ledger.transitions.move(failed, BatchState.FAILED, expected=BatchState.QUEUED, error="no")
    assert reported(ledger, batch=rejected)[-1] == ("batch.rejected", "worker")
    assert reported(ledger, batch=failed)[-1] == ("batch.failed", "worker")
    assert "Secret" not in "".join(ledger.audit.lines())


def test_refused_requests_are_not_logged(bench: Bench) -> None:
    ledger = bench.ledger
    batch = take_in(ledger, fact("P", "x"), max_open=1).record.spec.id
    with pytest.raises(QueueFull):
        take_in(ledger, fact("Q", "x"), max_open=1)
    with pytest.raises(LostRace):
        ledger.transitions.move(batch, BatchState.APPLIED, expected=BatchState.CHECKING)
    with pytest.raises(NotFound):
        ledger.publication.promote("v9", author="ann")
    with pytest.raises(NotFound):
        ledger.versions.pin("v9", author="ann")
    ledger.publication.promote("v0", author="ann")
    assert reported(ledger) == [("batch.accepted", None)]


def test_entries_are_found_by_edit_batch_and_version(bench: Bench) -> None:
    ledger = bench.ledger
    first, second = make_ready(ledger, ("P", "x")), make_ready(ledger, ("Q", "x"))
    edit = edit_of(ledger, first)
    v_first = publish(ledger, first, live=[edit])
    v_second = publish(ledger, second, live=[])
    ledger.audit.note("edit.looked_at", who="ann", edit=edit)
    assert [what for what, _ in reported(ledger, edit=edit)] == ["batch.accepted", "batch.applied", "edit.looked_at"]
    assert [what for what, _ in reported(ledger, batch=second)] == ["batch.accepted", "batch.applied"]
    assert [what for what, _ in reported(ledger, version=v_second)] == ["batch.applied", "version.published"]
    assert reported(ledger, version=v_first)[-1] == ("version.published", "commit"), "as the one that was live before"
    assert ledger.audit.page(batch="b-none").items == []


@pytest.mark.parametrize("wanted", [{}, {"batch": "b1"}])
def test_pages_give_every_entry_once_newest_first(bench: Bench, wanted: dict[str, str]) -> None:
    ledger = bench.ledger
    for number in range(7):
        ledger.audit.note("noted", who=None, batch="b1", number_of=number)
    numbers: list[int] = []
    cursor: str | None = None
    while True:
        page = ledger.audit.page(cursor=cursor, limit=3, **wanted)  # type: ignore[arg-type]
        numbers += [entry.number for entry in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


def test_exports_and_removals_are_found_by_their_subject(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    edit = edit_of(ledger, batch)
    version = publish(ledger, batch, live=[edit])
    export = ledger.exports.request(
        ExportRequest(version=version, format="hf", dtype="float32"), author="ann", is_lost=False
    ).record.id
    ledger.exports.fail(export, "no room")
    assert reported(ledger, version=version)[-1] == ("export.asked", "ann")
    removal = take_in(ledger, remove=[edit], author="bob").record.spec.id
    ledger.transitions.cancel(removal, author="bob")
    assert reported(ledger, edit=edit)[-2:] == [("batch.accepted", "bob"), ("batch.cancelled", "bob")]
    assert ("export.failed", "worker") in reported(ledger)


def test_candidates_are_logged_from_creation_to_their_end(bench: Bench) -> None:
    ledger = bench.ledger
    first = publish_one(ledger, take_in(ledger, fact("P", "x")).record.spec.id, candidate_until="2999")
    ledger.publication.promote(first, author="ann")
    second = publish_one(ledger, take_in(ledger, fact("Q", "x")).record.spec.id, candidate_until="2999")
    ledger.publication.discard([second], reason="no", author="bob")
    assert reported(ledger, version=first)[:4] == [
        ("batch.candidate", "worker"),
        ("version.candidate", "worker"),
        ("batch.applied", "ann"),
        ("version.promoted", "ann"),
    ]
    assert reported(ledger, version=second)[2:] == [("batch.discarded", "bob"), ("version.discarded", "bob")]


def test_note_under_one_id_is_added_once(bench: Bench) -> None:
    assert bench.ledger.audit.note("x", who="ann", note="n1")
    assert not bench.ledger.audit.note("x", who="ann", note="n1")
    assert bench.ledger.audit.length() == 1


def test_copy_on_disk_is_the_chain_and_a_torn_last_line_is_mended(bench: Bench, store: VersionStore) -> None:
    ledger, layout = bench.ledger, store.layout
    for _ in range(3):
        ledger.audit.note("x", who=None)
    assert copy_audit(ledger, layout) == 3
    with layout.audit_file.open("ab") as file:
        file.write(b'{"number":4,"at":"20')
    ledger.audit.note("y", who=None)
    assert copy_audit(ledger, layout) == 1
    assert copy_audit(ledger, layout) == 0
    assert read_copy(layout) == list(ledger.audit.lines())
    assert layout.audit_file.read_text().endswith("\n")


def test_copy_signed_with_a_key_is_refused_after_a_change_that_the_chain_allows(
    bench: Bench,
    store: VersionStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger, file = bench.ledger, store.layout.audit_file
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_bytes(b"k" * 32)
    monkeypatch.setenv("ERRATA_SIGNING_KEY_FILE", str(tmp_path / "key"))
    for who in ("ann", "bob"):
        ledger.audit.note("x", who=who)
        copy_audit(ledger, store.layout, key=read_signing_key(tmp_path / "key"))
    check = ["audit", "--verify", "--file", str(file)]
    assert run(check) == ExitCode.OK
    assert "signed by this key: 2 entries" in capsys.readouterr().out
    forged = follow_on([line.replace("ann", "eve") for line in read_copy(store.layout)], number=0, before=BEGINNING)
    file.write_text("".join(f"{line}\n" for line in forged))
    assert run(check) == ExitCode.FAILED
    assert "not signed by this key" in capsys.readouterr().err
    monkeypatch.delenv("ERRATA_SIGNING_KEY_FILE")
    assert run(check) == ExitCode.OK  # the chain alone has no secret


def test_copy_that_the_chain_does_not_continue_is_set_aside_and_kept(bench: Bench, store: VersionStore) -> None:
    ledger, layout = bench.ledger, store.layout
    ledger.audit.note("x", who="ann")
    copy_audit(ledger, layout)
    bench.redis.delete(ledger.keys.at(Key.AUDIT))
    ledger.audit.note("x", who="eve")
    copy_audit(ledger, layout)
    assert [read_line(line).who for line in (layout.root / "audit-1-1.jsonl").read_text().splitlines()] == ["ann"]
    assert [read_line(line).what for line in read_copy(layout)] == ["x", "audit.set_aside"]


def test_chain_goes_on_from_its_copy_when_redis_has_lost_its_memory(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    ledger = bench.ledger
    for number in range(3):
        ledger.audit.note("before", who="ann", version="v7", number_of=number)
    before = list(ledger.audit.lines())
    copy_audit(ledger, store.layout)
    bench.redis.flushall()
    accepted = take_in(ledger, fact("P", "later"), author="bob")  # before a worker finds the empty Redis
    reconcile_pointer(ledger, store)
    lines = list(ledger.audit.lines())
    assert lines[:3] == before
    assert [read_line(line).what for line in lines[3:]] == ["ledger.rebuilt", "batch.accepted"]
    assert read_line(lines[3]).fields == {"version": "v9", "revision": 5, "entries_before": 3}
    assert verify_chain(lines).fault is None
    assert reported(ledger, batch=accepted.record.spec.id) == [("batch.accepted", "bob")]
    assert len(reported(ledger, version="v7")) == 3
    copy_audit(ledger, store.layout)
    assert read_copy(store.layout) == lines


def test_chain_without_a_copy_begins_with_the_word_that_it_was_rebuilt(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    reconcile_pointer(bench.ledger, store)
    (line,) = bench.ledger.audit.lines()
    assert read_line(line).what == "ledger.rebuilt"
    assert read_line(line).fields["entries_before"] == 0


def test_a_new_store_has_an_empty_audit(bench: Bench, store: VersionStore) -> None:
    reconcile_pointer(bench.ledger, store)
    assert bench.ledger.audit.length() == 0


def test_keys_that_were_added_and_removed_while_nothing_ran_are_logged_once(bench: Bench, store: VersionStore) -> None:
    keys = KeyFile(store.layout.api_keys)
    secret = keys.add("ann", ["edit"])
    keys.remove("ann")
    copy_notes(bench.ledger, store.layout)
    copy_notes(bench.ledger, store.layout)
    entries = bench.ledger.audit.page().items
    assert [(entry.what, entry.fields["key"]) for entry in entries] == [("key.removed", "ann"), ("key.added", "ann")]
    assert entries[1].fields["scopes"] == ["edit"]
    assert secret not in "".join(bench.ledger.audit.lines())
    assert not list(store.layout.notes_dir.iterdir())
