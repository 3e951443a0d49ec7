from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.protocol.audit.chain import BEGINNING, follow_on, make_line, read_line, verify_chain


def chain(num_entries: int) -> list[str]:
    lines: list[str] = []
    before = BEGINNING
    for number in range(1, num_entries + 1):
        fields = {"batch": f"b{number}", "edits": ["e1", "ü/"]}
        lines.append(make_line(number, before, at="2026-01-01T00:00:00.000Z", what="x", who="ann", fields=fields))
        before = read_line(lines[-1]).hash
    return lines


def test_whole_chain_holds_and_ends_with_the_last_hash() -> None:
    lines = chain(5)
    verdict = verify_chain(lines)
    assert (verdict.num_entries, verdict.fault, verdict.last_hash) == (5, None, json.loads(lines[-1])["hash"])
    assert verify_chain([]).fault is None


@given(st.integers(0, 7), st.data())
def test_line_that_is_removed_changed_or_moved_shows_at_its_place(place: int, data: st.DataObject) -> None:
    lines = chain(9)
    how = data.draw(st.sampled_from(["removed", "changed", "moved", "doubled"]))
    if how == "removed":
        del lines[place]
    elif how == "changed":
        lines[place] = lines[place].replace(f"b{place + 1}", "b0")
    elif how == "moved":
        lines[place], lines[place + 1] = lines[place + 1], lines[place]
    else:
        lines.insert(place, lines[place])
    verdict = verify_chain(lines)
    assert verdict.fault is not None
    assert verdict.num_entries == place + (how == "doubled")


def test_line_whose_hash_was_made_to_fit_no_longer_fits_the_next() -> None:
    lines = chain(3)
    entry = read_line(lines[1])
    lines[1] = make_line(2, entry.before, at=entry.at, what="other", who=None, fields={})
    assert "does not follow" in str(verify_chain(lines).fault)


def test_lines_that_follow_on_another_chain_keep_their_content() -> None:
    lines = chain(2)
    verdict = verify_chain(lines)
    more = follow_on(chain(2), number=verdict.num_entries, before=verdict.last_hash)
    assert verify_chain([*lines, *more]).num_entries == 4
    assert [read_line(line).fields for line in more] == [read_line(line).fields for line in lines]


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"number": 1}', "no json"])
def test_a_line_that_is_not_an_entry_is_reported(line: str) -> None:
    assert "cannot be read" in str(verify_chain([line]).fault)


def test_entry_is_found_by_every_id_that_it_names() -> None:
    assert read_line(chain(1)[0]).ids() == {"b1", "e1", "ü/"}
