"""Guards in the ledger, on a real Redis."""

from __future__ import annotations

import pytest

from editing_core.errors import NotFound
from editing_core.guards import Guard
from tests.support.facts import fact, take_in
from tests.support.published import publish
from tests.support.redis_server import Bench
from worker.protocol.errors import GuardConflict

ROCARD = Guard(prompt="The mother tongue of Rocard is", target="français é", subject="Rocard")
PARIS = Guard(prompt="The capital of France is", target="Paris")


def test_guards_are_kept_once_with_their_author(bench: Bench) -> None:
    first = bench.ledger.guards.add([ROCARD, PARIS], author="ann")
    assert [row.guard for row in first] == [ROCARD, PARIS]
    again = bench.ledger.guards.add([PARIS, ROCARD], author="bob")
    assert [row.author for row in again] == ["ann", "ann"]
    assert {row.guard for row in bench.ledger.guards.all()} == {ROCARD, PARIS}


def test_a_guard_that_contradicts_a_kept_one_is_refused_with_its_whole_list(bench: Bench) -> None:
    bench.ledger.guards.add([ROCARD], author=None)
    other = Guard(prompt=ROCARD.prompt, target="English", subject="Rocard")
    with pytest.raises(GuardConflict, match=f"{ROCARD.id}.*français é"):
        bench.ledger.guards.add([PARIS, other], author=None)
    assert [row.guard for row in bench.ledger.guards.all()] == [ROCARD]


def test_a_guard_is_taken_away_once(bench: Bench) -> None:
    bench.ledger.guards.add([ROCARD], author=None)
    assert bench.ledger.guards.remove(ROCARD.id, author="eve").guard == ROCARD
    assert bench.ledger.guards.all() == ()
    with pytest.raises(NotFound, match="no guard"):
        bench.ledger.guards.remove(ROCARD.id, author="eve")


def test_the_audit_names_the_authors_of_added_and_removed_guards(bench: Bench) -> None:
    bench.ledger.guards.add([ROCARD], author="ann")
    bench.ledger.guards.add([ROCARD], author="bob")
    bench.ledger.guards.add([PARIS, ROCARD], author="bob")
    bench.ledger.guards.remove(PARIS.id, author="eve")
    reported = [(entry.what, entry.who, entry.fields) for entry in reversed(bench.ledger.audit.page().items)]
    assert reported == [
        ("guards.added", "ann", {"guards": [ROCARD.id]}),
        ("guards.added", "bob", {"guards": [PARIS.id]}),
        ("guard.removed", "eve", {"guard": PARIS.id}),
    ]


def test_no_rollback_touches_the_guards(bench: Bench) -> None:
    publish(bench.ledger, take_in(bench.ledger, fact("Ada", "Rome")).record.spec.id)
    bench.ledger.guards.add([ROCARD], author=None)
    bench.ledger.publication.promote("v0", author="ann")
    assert [row.guard for row in bench.ledger.guards.all()] == [ROCARD]
