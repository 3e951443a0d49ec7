"""A ledger's dump holds all that it knew at its moment, of every kind of batch and version, and nothing later."""

from __future__ import annotations

import pytest

from tests.support.facts import fact, take_in
from tests.support.ledger_steps import edit_of, make_ready
from tests.support.published import publish
from tests.support.redis_server import Bench
from worker.protocol.audit.chain import verify_chain
from worker.protocol.entities import BatchState
from worker.protocol.errors import BackupRefused
from worker.protocol.keys import Key, Keys
from worker.protocol.ledger.backup import DERIVED, Moment, Piece
from worker.protocol.ledger.ledger import Ledger

FAR = "2999-01-01T00:00:00.000Z"
DIGEST = "d" * 64


def busy_ledger(ledger: Ledger) -> dict[str, str]:
    """One batch or version of each kind, by what it is."""
    first = take_in(ledger, fact("Ada", "Rome"), author="ann", idempotency=("ann", "k")).record.spec.id
    v_first = publish(ledger, first)
    v_second = publish(ledger, take_in(ledger, fact("Ada", "Oslo")).record.spec.id)
    ledger.publication.mark_removed([v_first])
    discarded = publish(ledger, take_in(ledger, fact("Bo", "Rome")).record.spec.id, candidate_until=FAR)
    ledger.publication.discard([discarded], reason="no", author="ann")
    waiting = take_in(ledger, fact("Cy", "Rome")).record.spec.id
    candidate = publish(ledger, waiting, candidate_until=FAR)
    ready = make_ready(ledger, ("Di", "Rome"))
    queued = take_in(ledger, *(fact(f"Person {i}", "Rome") for i in range(70))).record.spec.id
    purged = take_in(ledger, fact("Ed", "Rome")).record.spec.id
    ledger.transitions.cancel(purged, author="ann")
    ledger.erasure.ask(edit_of(ledger, purged), author="ann")
    ledger.versions.pin(v_second, author="ann")
    return {
        "removed": v_first,
        "live": v_second,
        "discarded": discarded,
        "candidate": candidate,
        "ready": ready,
        "queued": queued,
        "waiting": waiting,
    }


def contents(bench: Bench, prefix: str) -> dict[str, object]:
    redis = bench.redis
    readers = {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": redis.smembers,
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        "list": lambda key: redis.lrange(key, 0, -1),
    }
    keys = sorted(redis.scan_iter(match=f"{prefix}*"))
    return {key.removeprefix(prefix): readers[redis.type(key)](key) for key in keys}


def test_a_loaded_dump_equals_the_dumped_ledger_key_for_key(bench: Bench) -> None:
    ledger = bench.ledger
    busy_ledger(ledger)
    before = contents(bench, ledger.keys.prefix)
    lines = [piece.to_line() for piece in ledger.backup.dump(ledger.backup.moment())]
    bench.redis.flushall()
    other = Ledger(bench.redis, Keys("other"))
    other.backup.require_empty(backup=DIGEST)
    other.backup.load([Piece.from_line(line) for line in lines], backup=DIGEST)
    assert bench.redis.get(other.keys.at(Key.RESTORING)) == DIGEST
    other.backup.end_loading()
    after = contents(bench, other.keys.prefix)
    chain, expected_chain = after.pop("audit"), before.pop("audit")
    assert isinstance(chain, list)
    assert chain[:-1] == expected_chain
    left_out = {f"{Key.AUDIT_OF}restored {DIGEST[:16]}"}
    assert {name: value for name, value in after.items() if name not in left_out} == before
    assert any(name.startswith(key) for name in before for key in DERIVED)
    assert verify_chain(other.audit.lines()).fault is None
    assert bench.redis.ttl(next(bench.redis.scan_iter(match=f"{other.keys.prefix}{Key.IDEMPOTENCY}*"))) > 0


def test_a_dump_leaves_out_changes_after_its_moment(bench: Bench) -> None:
    ledger = bench.ledger
    known = busy_ledger(ledger)
    moment = ledger.backup.moment()
    later = take_in(ledger, fact("Late", "Rome"), idempotency=("ann", "late"))
    ledger.publication.promote(known["candidate"], author="ann")
    publish(ledger, known["ready"])
    lines = "".join(piece.to_line() for piece in ledger.backup.dump(moment))
    for text in ("Late", later.record.spec.id, later.edits[0].id, "version.promoted"):
        assert text not in lines
    bench.redis.flushall()
    ledger.backup.load(list(_pieces(lines)), backup=DIGEST)
    assert ledger.versions.pointer().version == known["live"]
    states = {name: ledger.batches.get(known[name]).status for name in ("ready", "queued", "waiting")}
    assert states == {"ready": BatchState.READY, "queued": BatchState.QUEUED, "waiting": BatchState.CANDIDATE}
    assert ledger.versions.get(known["candidate"]).status == "candidate"
    assert ledger.versions.get(known["discarded"]).status == "discarded"
    assert ledger.versions.get(known["removed"]).removed
    assert ledger.publication.promote(known["candidate"], author="ann").previous == known["live"]


def _pieces(lines: str) -> list[Piece]:
    return [Piece.from_line(part) for part in lines.replace("}{", "}\n{").split("\n") if part]


def test_the_moment_is_small_compared_with_the_ledger(bench: Bench) -> None:
    for number in range(50):
        batch = take_in(bench.ledger, *(fact(f"P{number}-{i}", "Rome") for i in range(40))).record.spec.id
        bench.ledger.transitions.cancel(batch)
    moment = bench.ledger.backup.moment()
    size = sum(len(piece.to_line()) for piece in moment.pieces)
    whole = sum(len(piece.to_line()) for piece in bench.ledger.backup.dump(moment))
    assert size * 20 < whole


def test_piece_of_a_kind_that_is_not_known_is_refused(bench: Bench) -> None:
    with pytest.raises(BackupRefused, match="later Errata"):
        bench.ledger.backup.load([Piece("x", "stream", ["a"])], backup=DIGEST)


def test_moment_of_an_empty_ledger_is_empty(bench: Bench) -> None:
    moment = bench.ledger.backup.moment()
    assert isinstance(moment, Moment)
    assert (moment.pieces, moment.pointer(), moment.kept_versions()) == ([], None, [])
