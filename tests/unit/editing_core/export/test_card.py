"""The model card says what is in the folder, and says nothing of who asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from editing_core.edits import AcceptedEdit, Edit
from editing_core.errors import StoreDamaged
from editing_core.export.card import (
    NUM_LISTED,
    card_text,
    exported_checks,
    exported_edit,
    plain,
    read_record,
    write_card,
)


def accepted(number: int, *, target_new: str = "Rome") -> AcceptedEdit:
    edit = Edit(subject=f"Ada {number}", prompt="{} lives in", target_new=target_new, relation="home", note="secret")
    return AcceptedEdit(
        id=f"e{number}", edit=edit, batch="b", acceptance=1, created="2026-01-01T00:00:00Z", author="ann"
    )


def record(*edits: AcceptedEdit, **changes: Any) -> dict[str, Any]:
    return {
        "export": "v1-hf-float32",
        "kind": "hf",
        "version": "v1",
        "digest": "sha256:1",
        "base": {"source": "EleutherAI/gpt-j-6b", "revision": "abc123", "fingerprint": "sha256:2"},
        "served_dtype": "float32",
        "dtype": "float32",
        "is_exact": True,
        "matrices": {"transformer.h.3.mlp.fc_out.weight": {"change": 0.25, "lost": 0.0}},
        "recheck": None,
        "num_edits": len(edits),
        "edits": [exported_edit(edit) for edit in edits],
        "checks": {
            "reliability": {"count": 1, "total": 2, "share": 0.5},
            "specificity": {"count": 0, "total": 0},
            "drift": 0.5,
        },
        **changes,
    }


def test_a_card_names_base_edits_and_checks() -> None:
    text = card_text(record(accepted(1)))
    assert text.startswith("---\nbase_model: EleutherAI/gpt-j-6b\nlibrary_name: transformers\n")
    for words in ("commit abc123", "sha256:1", "sha256:2", "| Ada 1 lives in | Rome |", "new edits that hold: 1 of 2"):
        assert words in text
    assert "neighbours" not in text, "there were none"
    assert "0.5000 nats" in text


def test_the_sender_and_the_note_stay_in_the_house(tmp_path: Path) -> None:
    write_card(tmp_path, record(accepted(1)))
    reported = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "ann" not in reported.replace("transformer", "").replace("Meng et al", "")
    assert "secret" not in reported


def test_of_edits_that_a_version_went_live_without_no_text_goes_along() -> None:
    culprit = {"id": "e9", "subject": "Ada", "target_new": "Oslo", "limits": ["reliability"], "why": "Ada → Oslo"}
    reported = exported_checks({"drift": 0.5, "culprits": [culprit]})
    assert reported == {"drift": 0.5, "culprits": [{"id": "e9", "limits": ["reliability"]}]}
    assert exported_checks({"drift": 0.5}) == {"drift": 0.5}


def test_a_local_base_is_no_name_of_the_hub() -> None:
    text = card_text(record(base={"source": "my-model", "revision": None, "fingerprint": "sha256:2"}))
    assert "base_model" not in text
    assert "# my-model with 0 edits" in text


def test_users_text_is_shown_and_not_obeyed() -> None:
    hostile = "a | b\n# title [x](https://example.org) <script> `code`"
    (row,) = [line for line in card_text(record(accepted(1, target_new=hostile))).splitlines() if "Ada 1" in line]
    assert row.count(" | ") == 2, "the bar within is escaped, and the line is one"
    assert "\\<script\\>" in row
    assert "\\[x\\]" in row
    assert plain("Łódź_1") == "Łódź\\_1"


def test_of_very_many_edits_the_card_lists_some_and_the_record_all(tmp_path: Path) -> None:
    write_card(tmp_path, record(*(accepted(i) for i in range(NUM_LISTED + 7))))
    text = (tmp_path / "README.md").read_text()
    assert text.count("lives in") == NUM_LISTED
    assert "and 7 more" in text
    assert len(read_record(tmp_path)["edits"]) == NUM_LISTED + 7


def test_lost_edits_are_marked_and_counted() -> None:
    recheck = {"total": 2, "served": 2, "exported": 1, "lost": ["e2"]}
    text = card_text(record(accepted(1), accepted(2), is_exact=False, dtype="bfloat16", recheck=recheck))
    assert "1 of 2 edits take, 2 as served; no longer: e2" in text
    assert [line.endswith("| × |") for line in text.splitlines() if "lives in" in line] == [False, True]


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 9}', "{"])
def test_a_folder_without_a_whole_record_is_no_export(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "errata.json").write_text(content)
    with pytest.raises(StoreDamaged, match="is not a complete export"):
        read_record(tmp_path)
