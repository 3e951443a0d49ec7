"""What the ledger refuses to erase, and what it forgets, without a worker."""

from __future__ import annotations

import pytest

from service.api.live_index import LiveIndex
from tests.support.facts import fact, take_in
from tests.support.ledger_steps import edit_of, lease_of, make_checking, make_ready
from tests.support.published import publish
from tests.support.redis_server import Bench
from worker.protocol.entities import VersionRecord
from worker.protocol.errors import EditNotLive, NotErasable
from worker.protocol.keys import COMMIT_UNIT

UNTIL = "2999-01-01T00:00:00.000Z"


def test_an_edit_that_another_batchs_candidate_holds_is_refused_until_that_is_discarded(bench: Bench) -> None:
    ledger = bench.ledger
    batch = take_in(ledger, fact("Ada", "Rome")).record.spec.id
    publish(ledger, batch)
    waiting = publish(ledger, take_in(ledger, fact("Zola", "Rome")).record.spec.id, candidate_until=UNTIL)
    ledger.publication.promote("v0", author=None)
    edit = edit_of(ledger, batch)
    with pytest.raises(NotErasable, match=f"waits in the candidate {waiting}: promote or discard"):
        ledger.erasure.ask(edit, author=None)
    assert ledger.erasure.pending() == []
    ledger.publication.discard([waiting], reason="no", author=None)
    assert ledger.erasure.ask(edit, author=None).versions == ("v1",)


def test_the_record_of_a_discarded_candidate_is_redacted_too(bench: Bench) -> None:
    ledger = bench.ledger
    batch, lease = make_ready(ledger, ("Countess Lovelace", "Rome")), lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, batch)
    record = VersionRecord(
        id="v1",
        parent="v0",
        created=UNTIL,
        num_edits=1,
        digest="sha256:0",
        batches=(batch,),
        checks={"culprits": [{"subject": "Countess Lovelace"}]},
    )
    ledger.publication.publish(
        lease,
        expected_revision=0,
        version=record,
        edit_ids=[edit_of(ledger, batch)],
        reports={batch: {}},
        candidate_until=UNTIL,
    )
    ledger.publication.discard(["v1"], reason="no", author=None)
    ledger.erasure.redact_records(ledger.erasure.needles(edit_of(ledger, batch)))
    assert ledger.versions.get("v1").checks == {"culprits": [{"subject": "[erased]"}]}


def test_what_was_purged_from_beneath_the_live_set_cannot_be_named_any_more(bench: Bench) -> None:
    ledger = bench.ledger
    older, newer = (take_in(ledger, fact("Ada", target)).record.spec.id for target in ("Rome", "Oslo"))
    publish(ledger, older)
    publish(ledger, newer)
    index, edit = LiveIndex(ledger), edit_of(ledger, older)
    (found,) = index.removals([edit], index.current())
    assert found.accepted.edit.subject == "Ada"
    ledger.erasure.ask(edit, author=None)
    ledger.erasure.erase_row(edit)
    with pytest.raises(EditNotLive):
        index.removals([edit], index.current())
    (top,) = index.removals([edit_of(ledger, newer)], index.current())
    assert top.restores is None


def test_candidates_are_not_among_those_that_are_published_for_good(bench: Bench) -> None:
    ledger = bench.ledger
    publish(ledger, take_in(ledger, fact("Ada", "Rome")).record.spec.id)
    publish(ledger, take_in(ledger, fact("Zola", "Rome")).record.spec.id, candidate_until=UNTIL)
    assert ledger.versions.published() == {"v1", "v2"}
    assert ledger.versions.published(and_candidates=False) == {"v1"}
    assert ledger.backup.moment().candidates() == {"v2"}
