"""CounterFact records are read as published, and what is wrong in a file is named with its line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from editing_core.edits import Neighbor
from editing_core.errors import InvalidSettings
from editing_core.formats.counterfact import fits, read_counterfact

RECORD: dict[str, Any] = {
    "case_id": 2447,
    "pararel_idx": 11,
    "requested_rewrite": {
        "prompt": "The official language of {} is",
        "relation_id": "P37",
        "target_new": {"str": "Finnish", "id": "Q1412"},
        "target_true": {"str": "English", "id": "Q1860"},
        "subject": "Brunei",
    },
    "paraphrase_prompts": ["In Brunei, the language spoken is"],
    "neighborhood_prompts": ["The official language of Tennessee is", "In Indiana, they understand"],
    "attribute_prompts": [],
    "generation_prompts": ["People in Brunei speak"],
}


def without(record: dict[str, Any], *path: str) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return changed


def with_value(record: dict[str, Any], value: Any, *path: str) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("as_lines", [False, True])
def test_a_record_becomes_an_edit_whose_neighbours_have_the_old_object(tmp_path: Path, as_lines: bool) -> None:
    path = tmp_path / "records"
    path.write_text(f"{json.dumps(RECORD)}\n\n{json.dumps(RECORD)}\n" if as_lines else json.dumps([RECORD, RECORD]))
    record, _ = read_counterfact(path)
    assert record.case_id == "2447"
    assert record.edit.filled_prompt == "The official language of Brunei is"
    assert (record.edit.target_new, record.edit.target_true, record.edit.relation) == ("Finnish", "English", "P37")
    assert record.edit.filled_paraphrases == ("In Brunei, the language spoken is",)
    assert record.edit.neighborhood[1] == Neighbor(prompt="In Indiana, they understand", target="English")
    assert record.generation_prompts == ("People in Brunei speak",)
    assert len(read_counterfact(path, limit=1)) == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (without(RECORD, "requested_rewrite"), "requested_rewrite is missing"),
        (without(RECORD, "requested_rewrite", "target_new", "str"), r"requested_rewrite\.target_new\.str is missing"),
        (
            with_value(RECORD, 5, "requested_rewrite", "subject"),
            r"requested_rewrite\.subject must be text, but is a number",
        ),
        (with_value(RECORD, "no slot", "requested_rewrite", "prompt"), "has 0 slots"),
        (with_value(RECORD, ["Who?", 3], "paraphrase_prompts"), "paraphrase_prompts must be a list of texts"),
        (with_value(RECORD, ["{} is"], "neighborhood_prompts"), "writes the subject out"),
        ("text", "requested_rewrite is missing"),
    ],
)
def test_a_record_that_cannot_be_used_is_named_with_file_and_place(tmp_path: Path, record: Any, reason: str) -> None:
    path = tmp_path / "records.json"
    path.write_text(f"[{json.dumps(RECORD)},\n{json.dumps(record)}]")
    with pytest.raises(InvalidSettings, match=rf"records\.json:2: .*{reason}"):
        read_counterfact(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[{", ":1: is not JSON"),
        (b'{"requested_rewrite"\n', ":2: is not JSON"),
        (json.dumps(RECORD).encode() + b"\n{]", ":2: is not JSON"),
        (b"\xff\xfe", ":1: is not UTF-8"),
        (b"", "contains no records"),
        (b"[]", "contains no records"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "records.json"
    path.write_bytes(content)
    with pytest.raises(InvalidSettings, match=rf"records\.json.*{reason}"):
        read_counterfact(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        read_counterfact(tmp_path / "none.json")


def test_records_are_recognised() -> None:
    assert fits(RECORD)
    assert not fits({"subject": "Brunei"})


def test_line_breaks_of_published_paraphrases_become_spaces(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text(json.dumps([RECORD | {"paraphrase_prompts": ["It rained.\n\nIn Brunei, people  speak"]}]))
    assert read_counterfact(path)[0].edit.paraphrases == ("It rained. In Brunei, people speak",)
