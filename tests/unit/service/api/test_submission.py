from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editing_core.errors import ErrataError
from service.api.problems.kinds import TooManyEdits
from service.api.problems.statuses import status_of
from service.api.submissions.reading import fingerprint, read_submission, usable_edits


def read(document: Any, *, max_edits: int = 1_000) -> Any:
    return read_submission(json.dumps(document).encode(), max_edits=max_edits)


def edits(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"subject": f"S{i}", "prompt": "{} is", "target_new": "x", **fields} for i in range(count)]


def test_the_fingerprint_depends_on_the_content_and_not_on_the_notation() -> None:
    short = {"edits": edits(2)}
    long = {"dry_run": False, "on_failure": "reject", "edits": edits(2, note=None, paraphrases=[]), "promote": "auto"}
    assert fingerprint(read(short)) == fingerprint(read(long))


def test_batches_with_other_content_have_other_fingerprints() -> None:
    bodies = [edits(2), edits(2)[::-1], edits(3), edits(2, note="n"), edits(2, source="n"), edits(2, relation="r")]
    assert len({fingerprint(read({"edits": body})) for body in bodies}) == len(bodies)


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_every_edit_is_read_in_its_order(count: int) -> None:
    submission = read({"edits": edits(count)})
    assert [edit.subject for edit in usable_edits(submission)] == [f"S{i}" for i in range(count)]


def test_as_many_edits_as_allowed_are_accepted_and_one_more_is_not() -> None:
    assert len(read({"edits": edits(7)}, max_edits=7).edits) == 7
    with pytest.raises(TooManyEdits):
        read({"edits": edits(8)}, max_edits=7)


TEXT = st.text(alphabet="ab {}\u00e9\u0301\U0001f3ad\ud800\x00\n", max_size=6)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["subject", "prompt", "target_new", "relation", "paraphrases", "neighborhood", "note", "x"])


@settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, ANY_JSON | st.sampled_from(["{} is", "{", "{0.__class__}", "\ud800"]), max_size=8))
def test_any_json_is_either_accepted_or_refused_with_a_reason(edit: dict[str, Any]) -> None:
    refused: ErrataError | None = None
    try:
        usable_edits(read({"edits": [edit]}))
    except ErrataError as error:
        refused = error
    assert refused is None or (status_of(type(refused)) == 422 and refused.detail)
