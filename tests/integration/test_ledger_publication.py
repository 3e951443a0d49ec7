from __future__ import annotations

import pytest

from editing_core.errors import NotFound
from tests.support.ledger_steps import edit_of, lease_of, make_checking, make_ready, publish, version
from tests.support.redis_server import Bench
from worker.protocol.entities import BatchState, EditStatus
from worker.protocol.errors import LostRace, StaleLease
from worker.protocol.keys import COMMIT_UNIT

# Publishing


def test_publishing_moves_pointer_version_and_batches_together(bench: Bench) -> None:
    ledger = bench.ledger
    one, two = make_ready(ledger, ("P", "x")), make_ready(ledger, ("Q", "x"))
    live = [edit_of(ledger, one), edit_of(ledger, two)]
    made = publish(ledger, one, two, live=live)
    assert (ledger.versions.pointer().revision, ledger.versions.pointer().version) == (1, made)
    assert [ledger.batches.get(batch).status for batch in (one, two)] == [BatchState.APPLIED] * 2
    assert [ledger.batches.get(batch).version for batch in (one, two)] == [made] * 2
    assert ledger.batches.get(one).report == {"passed": True}
    assert ledger.versions.live_edit_ids(made) == set(live)
    assert ledger.versions.get(made).status == "live"
    assert ledger.batches.count_open() == 0
    assert [step["version"] for step in ledger.publication.promotions()] == [made]


def test_nothing_is_published_when_the_pointer_moved_meanwhile(bench: Bench) -> None:
    ledger = bench.ledger
    first = publish(ledger, make_ready(ledger, ("P", "x")), live=[])
    batch = make_ready(ledger, ("Q", "x"))
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, batch)
    ledger.publication.promote("v0", author=None)
    with pytest.raises(LostRace, match="the live version is v0"):
        ledger.publication.publish(
            lease, expected_revision=1, version=version(ledger, 9, parent=first), edit_ids=[], reports={batch: {}}
        )
    assert ledger.versions.pointer().version == "v0"
    assert ledger.batches.get(batch).status == BatchState.CHECKING
    with pytest.raises(NotFound):
        ledger.versions.get("v9")


def test_nothing_is_published_under_a_lease_that_has_ended(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, batch)
    ledger.leases.release(lease)
    lease_of(ledger, COMMIT_UNIT)
    with pytest.raises(StaleLease):
        ledger.publication.publish(
            lease, expected_revision=0, version=version(ledger, 1, parent="v0"), edit_ids=[], reports={batch: {}}
        )
    assert ledger.versions.pointer().revision == 0


@pytest.mark.parametrize("state", [BatchState.APPLYING, BatchState.REJECTED])
def test_nothing_is_published_when_one_batch_is_no_longer_checking(bench: Bench, state: BatchState) -> None:
    ledger = bench.ledger
    one, two = make_ready(ledger, ("P", "x")), make_ready(ledger, ("Q", "x"))
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, one, two)
    ledger.transitions.move(two, state, expected=BatchState.CHECKING, lease=lease)
    with pytest.raises(LostRace, match=f"{two} is {state}"):
        ledger.publication.publish(
            lease,
            expected_revision=0,
            version=version(ledger, 1, parent="v0"),
            edit_ids=[],
            reports={one: {}, two: {}},
        )
    assert ledger.versions.pointer().revision == 0
    assert ledger.batches.get(one).status == BatchState.CHECKING


def test_version_numbers_only_grow_also_beyond_those_on_disk(bench: Bench) -> None:
    numbers = [bench.ledger.publication.new_version_number(above=above) for above in (0, 0, 7, 3, 0)]
    assert numbers == [1, 2, 8, 9, 10]


# Rollback and the status of edits


def test_a_rollback_lists_the_edits_it_withdraws_and_restores(bench: Bench) -> None:
    ledger = bench.ledger
    old = make_ready(ledger, ("P", "old"))
    old_edit = edit_of(ledger, old)
    v_old = publish(ledger, old, live=[old_edit])
    new = make_ready(ledger, ("P", "new"), ("Q", "new"))
    new_edits = [edit.id for edit in ledger.batches.edits(new)]
    v_new = publish(ledger, new, live=new_edits, superseded=(old_edit,))
    assert ledger.edits.get(old_edit).status == EditStatus.SUPERSEDED
    assert {ledger.edits.get(edit).status for edit in new_edits} == {EditStatus.LIVE}

    back = ledger.publication.promote(v_old, author="ann")
    assert (back.pointer.revision, back.pointer.version, back.previous) == (3, v_old, v_new)
    assert (back.rolled_back, back.restored) == (tuple(sorted(new_edits)), (old_edit,))
    assert ledger.edits.get(old_edit).status == EditStatus.LIVE
    assert {ledger.edits.get(edit).status for edit in new_edits} == {EditStatus.ROLLED_BACK}
    assert (ledger.versions.get(v_new).status, ledger.versions.get(v_old).status) == ("retired", "live")

    forth = ledger.publication.promote(v_new, author="ann")
    assert (forth.pointer.revision, forth.rolled_back, forth.restored) == (4, (), tuple(sorted(new_edits)))
    assert ledger.edits.get(old_edit).status == EditStatus.SUPERSEDED
    assert [step["author"] for step in ledger.publication.promotions()] == ["commit", "commit", "ann", "ann"]


def test_rollback_to_the_original_takes_everything_back(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    edit = edit_of(ledger, batch)
    publish(ledger, batch, live=[edit])
    assert ledger.publication.promote("v0", author=None).rolled_back == (edit,)
    assert ledger.edits.get(edit).status == EditStatus.ROLLED_BACK
    assert ledger.versions.get("v0").status == "live"


def test_edits_stay_rolled_back_when_the_line_goes_on_from_the_older_version(bench: Bench) -> None:
    ledger = bench.ledger
    lost = make_ready(ledger, ("P", "x"))
    v_lost = publish(ledger, lost, live=[edit_of(ledger, lost)])
    ledger.publication.promote("v0", author=None)
    next_batch = make_ready(ledger, ("Q", "x"))
    v_next = publish(ledger, next_batch, live=[edit_of(ledger, next_batch)])
    assert ledger.edits.get(edit_of(ledger, lost)).status == EditStatus.ROLLED_BACK
    assert ledger.versions.descends(v_next, "v0")
    assert not ledger.versions.descends(v_next, v_lost)
    assert ledger.versions.descends(v_lost, v_lost)


def test_promoting_the_live_version_changes_nothing(bench: Bench) -> None:
    ledger = bench.ledger
    made = publish(ledger, make_ready(ledger, ("P", "x")), live=[])
    again = ledger.publication.promote(made, author=None)
    assert (again.pointer.revision, again.rolled_back, again.restored) == (1, (), ())


def test_promotion_that_is_asked_for_again_after_a_lost_answer_is_answered_the_same(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    made = publish(ledger, batch, live=[edit_of(ledger, batch)])
    first = ledger.publication.promote("v0", author="ann")
    assert first.rolled_back == (edit_of(ledger, batch),)
    assert ledger.publication.promote("v0", author="ann") == first
    assert ledger.publication.promote("v0", author="bob").previous == "v0", (
        "who did not promote is told that nothing changed"
    )
    assert (first.previous, ledger.versions.pointer().revision) == (made, 2)


def test_version_whose_files_are_removed_cannot_be_promoted_and_the_live_one_is_never_marked(bench: Bench) -> None:
    ledger = bench.ledger
    first = publish(ledger, make_ready(ledger, ("P", "x")), live=[])
    second = publish(ledger, make_ready(ledger, ("Q", "x")), live=[])
    assert ledger.publication.mark_removed([first, second]) == [first]
    with pytest.raises(NotFound, match="no longer kept"):
        ledger.publication.promote(first, author=None)
    assert [record.removed for record in ledger.versions.page().items if record.id == first] == [True]
    assert ledger.versions.descends(second, first)


def test_status_of_an_edit_follows_its_batch_until_the_batch_is_applied(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    edit = edit_of(ledger, batch)
    assert ledger.edits.get(edit).status == EditStatus.PENDING
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, batch)
    assert ledger.edits.get(edit).status == EditStatus.PENDING
    ledger.edits.set_reports({edit: {"holds": False}})
    ledger.transitions.move(
        batch, BatchState.REJECTED, expected=BatchState.CHECKING, lease=lease, error="drift", report={"a": 1}
    )
    record = ledger.edits.get(edit)
    assert (record.status, record.report) == (EditStatus.REJECTED, {"holds": False})
    assert (ledger.batches.get(batch).error, ledger.batches.get(batch).report) == ("drift", {"a": 1})


def test_versions_are_listed_newest_first_with_the_original_last(bench: Bench) -> None:
    ledger = bench.ledger
    made = [publish(ledger, make_ready(ledger, (f"P{i}", "x")), live=[]) for i in range(3)]
    first = ledger.versions.page(None, 2)
    rest = ledger.versions.page(first.next, 2)
    assert [record.id for record in (*first.items, *rest.items)] == [*made[::-1], "v0"]
    assert rest.next is None
