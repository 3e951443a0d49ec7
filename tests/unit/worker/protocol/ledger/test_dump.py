from __future__ import annotations

import json

from worker.protocol.keys import Key
from worker.protocol.ledger.backup import AT_ONCE, DERIVED, FOLLOWING, LEFT_OUT, PARTLY, Moment, Piece


def test_every_family_of_keys_is_dumped_rebuilt_or_left_out_on_purpose() -> None:
    families = {key for key in Key if key.endswith(":")}
    assert families <= FOLLOWING | PARTLY | DERIVED | LEFT_OUT
    assert not families & set(AT_ONCE)
    assert set(AT_ONCE) | FOLLOWING | PARTLY | DERIVED | LEFT_OUT == set(Key)


def test_piece_is_the_same_after_it_was_a_line() -> None:
    for piece in (Piece("a", "hash", ["f", 'ü "\n'], 12), Piece("b", "list", [])):
        assert Piece.from_line(json.dumps(json.loads(piece.to_line()))) == piece


def test_moment_knows_what_its_pieces_say() -> None:
    moment = Moment(
        [
            Piece(Key.POINTER, "hash", ["revision", "3", "version", "v2"]),
            Piece(Key.VERSIONS, "zset", ["v1", "1", "v2", "2"]),
            Piece("version:v2", "hash", ["record", "{}"]),
            Piece(Key.PINS, "set", ["v2"]),
        ],
        0,
    )
    assert (moment.pointer(), moment.kept_versions(), moment.members(Key.PINS)) == ((3, "v2"), ["v2"], ["v2"])
    assert (moment.members(Key.OPEN), moment.last_place()) == ([], 0)
