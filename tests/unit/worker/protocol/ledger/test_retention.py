from __future__ import annotations

from dataclasses import replace
from typing import Any

from worker.protocol.entities import VersionRecord
from worker.protocol.ledger.versions import retention_plan


def version(number: int, **fields: Any) -> VersionRecord:
    record = VersionRecord(id=f"v{number}", parent=f"v{number - 1}", created="", num_edits=1, digest="")
    return replace(record, **fields)


def test_each_version_stays_for_its_own_reason_and_the_rest_goes() -> None:
    records = [
        version(12, status="candidate", parent="v4"),
        *(version(number) for number in (11, 10, 9, 8, 7, 5, 4)),
        version(6, pinned=True),
        version(3),
    ]
    plan = retention_plan(records, live="v3", keep=2)
    assert {row.version: row.why for row in plan} == {
        "v12": "a candidate",
        "v11": "one of the last 2",
        "v10": "one of the last 2",
        **dict.fromkeys(("v9", "v8", "v7", "v5")),
        "v6": "pinned",
        "v4": "the candidate v12 was made from it",
        "v3": "live",
    }
    assert [row.version for row in plan][:3] == ["v12", "v11", "v10"]


def test_the_original_is_never_part_of_the_plan() -> None:
    assert retention_plan([version(0)], live="v0", keep=1) == []


def test_removed_version_takes_no_place_among_the_last_ones() -> None:
    plan = retention_plan([version(3, removed=True), version(2), version(1)], live="v2", keep=1)
    assert {row.version: row.why for row in plan} == {"v3": None, "v2": "live", "v1": None}
