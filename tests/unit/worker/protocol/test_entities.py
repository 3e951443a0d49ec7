from __future__ import annotations

import subprocess
import sys

import pytest

from worker.protocol.entities import (
    CANCELLABLE_STATES,
    COMMIT_STATES,
    FINAL_STATES,
    BatchOptions,
    BatchSpec,
    BatchState,
)
from worker.protocol.errors import InvalidCursor
from worker.protocol.keys import Key, Keys, batch_of, idempotency_hash, subject_hash, targets_unit
from worker.protocol.ledger.acceptance import edit_id
from worker.protocol.ledger.edits import STATUS_IN
from worker.protocol.scripting.paging import read_cursor, write_cursor


def test_protocol_is_imported_without_torch() -> None:
    code = (
        "import sys, worker.protocol.ledger.ledger, worker.protocol.queue, worker.protocol.connections,"
        " worker.protocol.logs,"
        " worker.protocol.settings, service.cli.embedded_redis; print([m for m in ('torch', 'transformers')"
        " if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_state_is_final_or_leads_somewhere_and_none_is_both() -> None:
    open_states = CANCELLABLE_STATES | COMMIT_STATES | {BatchState.CANDIDATE}
    assert open_states | FINAL_STATES == set(BatchState)
    assert not open_states & FINAL_STATES


def test_every_state_but_applied_decides_the_status_of_its_edits() -> None:
    assert set(STATUS_IN) == set(BatchState) - {BatchState.APPLIED}


def test_batch_summary_reads_back_as_the_same_spec() -> None:
    spec = BatchSpec(
        id="b1",
        acceptance=7,
        created="t",
        author=None,
        options=BatchOptions(promote="manual"),
        num_edits=3,
        shard_size=2,
        request_hash="h",
    )
    assert BatchSpec.from_summary("b1", {**spec.summary(), "version": "v3"}) == spec


def test_every_key_carries_the_stores_id() -> None:
    keys = Keys("abc")
    assert all(keys.at(key, "m" if key.endswith(":") else "").startswith("errata:abc:") for key in Key)


def test_no_two_keys_are_the_same() -> None:
    keys = [Keys("abc").at(key, "m" if key.endswith(":") else "") for key in Key]
    assert len(set(keys)) == len(keys)


def test_subjects_that_are_equal_when_normalised_share_an_index() -> None:
    assert subject_hash("Cafe\u0301  Noir ") == subject_hash("Café Noir")
    assert subject_hash("café noir") != subject_hash("Café Noir")


def test_owner_and_key_of_an_idempotency_key_do_not_run_into_each_other() -> None:
    assert idempotency_hash("a", "b:c") != idempotency_hash("a:b", "c")


def test_ids_of_a_batchs_edits_sort_in_their_order() -> None:
    ids = [edit_id("b1", index) for index in range(10_001)]
    assert sorted(ids) == ids


def test_unit_names_its_batch() -> None:
    assert batch_of(targets_unit("b12", 3)) == "b12"


@pytest.mark.parametrize("place", [0, 1, -5, 10**15])
def test_cursor_reads_back_as_its_place(place: int) -> None:
    assert read_cursor(write_cursor(place)) == place


@pytest.mark.parametrize("cursor", ["", "x", "é", "a" * 1000, "\x00"])
def test_text_that_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        read_cursor(cursor)
