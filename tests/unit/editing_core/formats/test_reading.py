"""The readers of edit files: every format gives the same edits, every complaint names its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing_core.edits import Edit
from editing_core.errors import InvalidSettings
from editing_core.formats.json_records import first_repeated
from editing_core.formats.own import as_input, write_lines
from editing_core.formats.reading import read_edit_file
from editing_core.formats.tables import write_table
from tests.support.edit_files import EMMA, HAMLET, complaint, write


def _sent(*records: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple(as_input(Edit.from_json(record)) for record in records)


def test_the_first_repeated_name_is_found_in_one_pass() -> None:
    names = iter(["a", "b", "c", "b", "a"])
    assert first_repeated(names) == "b"
    assert list(names) == ["a"], "the rest was not looked at"
    assert first_repeated(["a", "b"]) is None


def test_a_json_list_is_read(tmp_path: Path) -> None:
    assert read_edit_file(write(tmp_path, "e.json", json.dumps([HAMLET, EMMA]))).edits == _sent(HAMLET, EMMA)


def test_a_body_of_the_api_keeps_its_options(tmp_path: Path) -> None:
    read = read_edit_file(write(tmp_path, "e.json", json.dumps({"edits": [EMMA], "on_failure": "reject"})))
    assert (read.edits, read.options) == (_sent(EMMA), {"on_failure": "reject"})


def test_one_edit_alone_is_read(tmp_path: Path) -> None:
    assert read_edit_file(write(tmp_path, "e.json", json.dumps(HAMLET))).edits == _sent(HAMLET)


@pytest.mark.parametrize("name", ["e.jsonl", "e.ndjson", "e.txt"])
def test_one_json_document_a_line_is_read_and_blank_lines_are_skipped(tmp_path: Path, name: str) -> None:
    text = f"{json.dumps(HAMLET)}\n\n{json.dumps(EMMA)}\n"
    assert read_edit_file(write(tmp_path, name, text)).edits == _sent(HAMLET, EMMA)


def test_a_table_with_a_header_is_read(tmp_path: Path) -> None:
    text = (
        "subject,prompt,target_new,target_true,relation,paraphrases,neighborhood\r\n"
        "Hamlet,{} was written by,Dickens,Shakespeare,author,"
        "The author of {} is | Who wrote {}?,Macbeth was written by => Shakespeare\r\n"
        "Emma,{} was written by,Wells,,,,\r\n"
    )
    assert read_edit_file(write(tmp_path, "e.csv", text)).edits == _sent(HAMLET, EMMA)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    text = "\ufeffsubject,prompt,target_new\nEmma,{} was written by,Wells\n"
    assert read_edit_file(write(tmp_path, "e.csv", text)).edits == _sent(EMMA)


def test_records_of_counterfact_are_read(tmp_path: Path) -> None:
    record = {
        "case_id": 7,
        "requested_rewrite": {
            "prompt": "{} was written by",
            "relation_id": "author",
            "target_new": {"str": "Dickens"},
            "target_true": {"str": "Shakespeare"},
            "subject": "Hamlet",
        },
        "paraphrase_prompts": ["The author of Hamlet is"],
        "neighborhood_prompts": ["Macbeth was written by"],
        "generation_prompts": ["Hamlet is"],
    }
    (edit,) = read_edit_file(write(tmp_path, "e.json", json.dumps([record]))).edits
    assert edit == as_input(Edit.from_json(HAMLET | {"paraphrases": ["The author of Hamlet is"]}))


def test_edit_reads_the_file_that_export_writes(tmp_path: Path) -> None:
    sent = _sent(HAMLET, EMMA | {"note": "أهلا 👋 e\u0301", "source": "https://example.org"})
    text = "".join(json.dumps(edit, ensure_ascii=False) + "\n" for edit in sent)
    assert read_edit_file(write(tmp_path, "e.jsonl", text)).edits == sent


def test_tests_of_easyedit_that_were_left_empty_are_none(tmp_path: Path) -> None:
    record = {
        "subject": "Emma",
        "prompt": "Emma was written by",
        "target_new": "Wells",
        "ground_truth": "",
        "rephrase_prompt": " ",
        "locality_prompt": ["", "Ulysses was\nwritten by"],
        "locality_ground_truth": ["Joyce", ""],
        "locality": {"Relation": None, "Other": [{"prompt": "Dracula\nis by", "ground_truth": [["Stoker\n"]]}]},
    }
    (edit,) = read_edit_file(write(tmp_path, "e.json", json.dumps([record]))).edits
    neighbors = [{"prompt": "Ulysses was written by"}, {"prompt": "Dracula is by", "target": "Stoker"}]
    assert edit == _sent(EMMA | {"neighborhood": neighbors})[0]
    for locality, words in (
        ({"Other": [{"prompt": "x"}, {"prompt": 5}]}, "locality.Other[1].prompt must be text, but is a number"),
        ({"Other": [3]}, "locality.Other[0] is not an object"),
    ):
        assert (
            complaint(write(tmp_path, "e.json", json.dumps([record | {"locality": locality}]))) == f"e.json:1: {words}"
        )


def test_what_is_as_long_as_the_api_takes_it_is_read_from_every_form(tmp_path: Path) -> None:
    edit = Edit.from_json(EMMA | {"prompt": "{} " + "was " * 4_999, "paraphrases": ["x" * 20_000] * 100})
    assert "relation" not in as_input(edit), "it would be longer than the API takes"
    for name, text in (("e.jsonl", write_lines([edit])), ("e.csv", write_table([edit]))):
        assert read_edit_file(write(tmp_path, name, text)).edits == (as_input(edit),), name


def test_objects_one_after_another_are_read_over_several_lines(tmp_path: Path) -> None:
    text = json.dumps(HAMLET, indent=1) + "\n" + json.dumps(EMMA, indent=1)
    assert read_edit_file(write(tmp_path, "e.json", text)).edits == _sent(HAMLET, EMMA)


@pytest.mark.parametrize("text", ['{"edits": [], "remove": ["e1"]}', '{"remove": ["e1"]}', '{\n "remove": ["e1"]\n}'])
def test_a_body_may_take_edits_out_without_giving_any(tmp_path: Path, text: str) -> None:
    read = read_edit_file(write(tmp_path, "e.json", text))
    assert (read.edits, read.options) == ((), {"remove": ["e1"]})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_decides_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    rows = (("subject", "prompt", "target_new"), ("Emma", "{} was written by", "Wells"))
    text = "".join(delimiter.join(row) + "\r\n" for row in rows)
    assert read_edit_file(write(tmp_path, "e.txt", text)).edits == _sent(EMMA)


def test_columns_of_lists_may_stand_several_times(tmp_path: Path) -> None:
    text = (
        "subject,prompt,target_new,paraphrases,paraphrases,neighborhood\n"
        'Emma,{} was written by,Wells,"[""The author | {}""]",Who wrote {}?,"[{""prompt"": ""Ulysses is by""}]"\n'
    )
    wanted = EMMA | {"paraphrases": ["The author | {}", "Who wrote {}?"], "neighborhood": [{"prompt": "Ulysses is by"}]}
    assert read_edit_file(write(tmp_path, "e.csv", text)).edits == _sent(wanted)


def test_the_content_and_not_the_name_decides_the_format(tmp_path: Path) -> None:
    assert read_edit_file(write(tmp_path, "e.csv", json.dumps([EMMA]))).edits == _sent(EMMA)
    assert read_edit_file(write(tmp_path, "e.jsonl", json.dumps([EMMA], indent=1))).edits == _sent(EMMA)


def test_a_format_that_is_asked_for_wins(tmp_path: Path) -> None:
    record = EMMA | {"prompt": "Emma was written by", "ground_truth": ["Austen"]}
    path = write(tmp_path, "e.json", json.dumps([record]))
    assert read_edit_file(path).edits == _sent(EMMA | {"target_true": "Austen"})
    with pytest.raises(InvalidSettings, match="unknown field 'ground_truth'"):
        read_edit_file(path, form="errata")
    with pytest.raises(InvalidSettings, match="requested_rewrite is missing"):
        read_edit_file(path, form="counterfact")
    with pytest.raises(InvalidSettings, match="format 'xml' is not one of"):
        read_edit_file(path, form="xml")
