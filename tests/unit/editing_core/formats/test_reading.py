"""The readers of edit files: every format gives the same edits, every complaint names its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing_core.edits import Edit
from editing_core.errors import InvalidSettings
from editing_core.formats.own import as_input
from editing_core.formats.reading import read_edit_file

HAMLET: dict[str, Any] = {
    "subject": "Hamlet",
    "prompt": "{} was written by",
    "target_new": "Dickens",
    "target_true": "Shakespeare",
    "relation": "author",
    "paraphrases": ["The author of {} is", "Who wrote {}?"],
    "neighborhood": [{"prompt": "Macbeth was written by", "target": "Shakespeare"}],
}
EMMA: dict[str, Any] = {"subject": "Emma", "prompt": "{} was written by", "target_new": "Wells"}


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _complaint(path: Path) -> str:
    with pytest.raises(InvalidSettings) as raised:
        read_edit_file(path)
    return str(raised.value).replace(str(path), path.name)


def _sent(*records: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple(as_input(Edit.from_json(record)) for record in records)


def test_a_json_list_is_read(tmp_path: Path) -> None:
    assert read_edit_file(_write(tmp_path, "e.json", json.dumps([HAMLET, EMMA]))).edits == _sent(HAMLET, EMMA)


def test_a_body_of_the_api_keeps_its_options(tmp_path: Path) -> None:
    read = read_edit_file(_write(tmp_path, "e.json", json.dumps({"edits": [EMMA], "on_failure": "reject"})))
    assert (read.edits, read.options) == (_sent(EMMA), {"on_failure": "reject"})


def test_one_edit_alone_is_read(tmp_path: Path) -> None:
    assert read_edit_file(_write(tmp_path, "e.json", json.dumps(HAMLET))).edits == _sent(HAMLET)


@pytest.mark.parametrize("name", ["e.jsonl", "e.ndjson", "e.txt"])
def test_one_json_document_a_line_is_read_and_blank_lines_are_skipped(tmp_path: Path, name: str) -> None:
    text = f"{json.dumps(HAMLET)}\n\n{json.dumps(EMMA)}\n"
    assert read_edit_file(_write(tmp_path, name, text)).edits == _sent(HAMLET, EMMA)


def test_a_table_with_a_header_is_read(tmp_path: Path) -> None:
    text = (
        "subject,prompt,target_new,target_true,relation,paraphrases,neighborhood\r\n"
        "Hamlet,{} was written by,Dickens,Shakespeare,author,"
        "The author of {} is | Who wrote {}?,Macbeth was written by => Shakespeare\r\n"
        "Emma,{} was written by,Wells,,,,\r\n"
    )
    assert read_edit_file(_write(tmp_path, "e.csv", text)).edits == _sent(HAMLET, EMMA)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    text = "\ufeffsubject,prompt,target_new\nEmma,{} was written by,Wells\n"
    assert read_edit_file(_write(tmp_path, "e.csv", text)).edits == _sent(EMMA)


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
    (edit,) = read_edit_file(_write(tmp_path, "e.json", json.dumps([record]))).edits
    assert edit == as_input(Edit.from_json(HAMLET | {"paraphrases": ["The author of Hamlet is"]}))


def test_what_export_writes_is_what_edit_reads(tmp_path: Path) -> None:
    sent = _sent(HAMLET, EMMA | {"note": "أهلا 👋 e\u0301", "source": "https://example.org"})
    text = "".join(json.dumps(edit, ensure_ascii=False) + "\n" for edit in sent)
    assert read_edit_file(_write(tmp_path, "e.jsonl", text)).edits == sent


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("e.json", "[", "e.json:1: is not JSON: Expecting value at column 2"),
        ("e.json", '[\n{"subject": "x",\n}]', "e.json:3: is not JSON"),
        ("e.json", f"[{json.dumps(EMMA)}\n 2]", "e.json:2: is not JSON: Expecting ',' or ']' at column 2"),
        ("e.json", f"[\n{json.dumps(EMMA)}]\n\n x", "e.json:4: is not JSON: more follows after its end at column 2"),
        ("e.json", "[]", "e.json: holds no edits"),
        ("e.json", "", "e.json: holds no edits"),
        ("e.json", "7", "e.json:1: holds no list of edits, but a number"),
        ("e.json", "[" * 100_000, "e.json:1: is nested too deeply"),
        ("e.json", '[\n{"subject": NaN}]', "e.json:2: is not JSON: NaN is no number"),
        ("e.json", '[\n\n{"note": "a", "note": "b"}]', "e.json:3: names the field 'note' twice"),
        ("e.json", json.dumps([EMMA, 3]), "e.json:1: is not an object"),
        ("e.json", json.dumps([EMMA, {"subject": "x"}], indent=1), "e.json:7: field 'prompt' is missing"),
        ("e.json", json.dumps([EMMA | {"colour": 1}]), "e.json:1: unknown field 'colour'"),
        ("e.json", json.dumps([EMMA | {"subject": 1}]), "e.json:1: subject is not text, but a number"),
        ("e.json", json.dumps([EMMA | {"subject": None}]), "e.json:1: subject is not text, but null"),
        ("e.json", json.dumps([EMMA | {"paraphrases": "x"}]), "e.json:1: paraphrases is not a list"),
        ("e.json", json.dumps([EMMA | {"paraphrases": ["x", " "]}]), "e.json:1: paraphrases[1]: paraphrases is blank"),
        ("e.json", json.dumps([EMMA | {"neighborhood": ["x"]}]), "e.json:1: neighborhood is not a list"),
        ("e.json", json.dumps({"edits": [EMMA], "color": 1}), "e.json: unknown field 'color'"),
        ("e.json", '{"edits":\n[],\n"edits": []}', "e.json:3: names the field 'edits' twice"),
        ("e.json", '{"on_failure": "drop",\n"edits": 7}', "e.json:2: 'edits' is not a list, but a number"),
        ("e.json", json.dumps([{"requested_rewrite": {}}]), "e.json:1: requested_rewrite"),
        ("e.jsonl", f"{json.dumps(EMMA)}\n\n{{", "e.jsonl:3: is not JSON"),
        ("e.jsonl", f"{json.dumps(EMMA)}\n{json.dumps(EMMA | {'prompt': 'no slot'})}", "e.jsonl:2: prompt"),
        ("e.jsonl", json.dumps(EMMA | {"prompt": "{} {0.__class__}"}), "e.jsonl:1: prompt"),
        ("e.jsonl", json.dumps(EMMA | {"subject": " "}), "e.jsonl:1: subject is blank"),
        ("e.jsonl", json.dumps(EMMA | {"subject": "\ud800"}), "e.jsonl:1: subject contains the lone surrogate"),
        ("e.csv", "", "e.csv: holds no edits"),
        ("e.csv", "subject,prompt\nx,y\n", "e.csv:1: column 'target_new' is missing"),
        ("e.csv", "subject,prompt,target_new,hue\n", "e.csv:1: unknown column 'hue'"),
        ("e.csv", "subject,prompt,target_new\n", "e.csv: holds no edits"),
        ("e.csv", "subject,prompt,target_new\nEmma,{} by,Wells\nEmma,{} by\n", "e.csv:3: has 2 cells"),
        ("e.csv", 'subject,prompt,target_new\n"Em\nma",{} by,W\nx,,W\n', "e.csv:2: subject contains the control"),
        ("e.csv", "subject,prompt,target_new\nx,,W\n", "e.csv:2: prompt is blank"),
        ("e.csv", 'subject,prompt,target_new\nx,"a"b,W\n', "e.csv:2: is not CSV"),
        ("e.csv", "subject,subject,prompt,target_new\n", "e.csv:1: names the column 'subject' twice"),
        (
            "e.csv",
            'subject,prompt,target_new,note\nEmma,{} by,W,"two\nlines"\nEmma,by,W,\n',
            "e.csv:4: prompt 'by' has 0 slots",
        ),
        (
            "e.csv",
            "subject;prompt;target_new;paraphrases\nEmma;{} by;Wells;[x\n",
            "e.csv:2: column 4 (paraphrases): begins with [ and is not a JSON list",
        ),
    ],
)
def test_a_complaint_names_the_place(tmp_path: Path, name: str, text: str, place: str) -> None:
    assert _complaint(_write(tmp_path, name, text)).startswith(place)


def test_two_objects_for_one_fact_are_both_named(tmp_path: Path) -> None:
    other = EMMA | {"target_new": "Verne"}
    complaint = _complaint(_write(tmp_path, "e.jsonl", "\n".join(map(json.dumps, [EMMA, HAMLET, other]))))
    assert complaint.startswith("e.jsonl:3: gives 'Emma' the object 'Verne', but ")
    assert "e.jsonl:1 gives it 'Wells'" in complaint


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(json.dumps(EMMA).encode() + b"\n\xff\n")
    assert _complaint(path) == "e.jsonl:2: is not UTF-8 at byte 1: save the file as UTF-8"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert _complaint(tmp_path / "none.json") == "none.json: cannot be read: No such file or directory"


BODY = '{"promote": "manual",\n "edits": [\n%s]}'


def test_a_list_names_the_line_on_which_the_record_begins(tmp_path: Path) -> None:
    bad = json.dumps(EMMA | {"prompt": "none"}, indent=2)
    for text, line in ((f"[{json.dumps(HAMLET)},\n\n  {bad}]", 3), (BODY % bad, 3)):
        assert _complaint(_write(tmp_path, "e.json", text)).startswith(f"e.json:{line}: prompt 'none' has 0 slots")


def test_objects_one_after_another_are_read_over_several_lines(tmp_path: Path) -> None:
    text = json.dumps(HAMLET, indent=1) + "\n" + json.dumps(EMMA, indent=1)
    assert read_edit_file(_write(tmp_path, "e.json", text)).edits == _sent(HAMLET, EMMA)


@pytest.mark.parametrize("text", ['{"edits": [], "remove": ["e1"]}', '{"remove": ["e1"]}', '{\n "remove": ["e1"]\n}'])
def test_a_body_may_take_edits_out_without_giving_any(tmp_path: Path, text: str) -> None:
    read = read_edit_file(_write(tmp_path, "e.json", text))
    assert (read.edits, read.options) == ((), {"remove": ["e1"]})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_tells_what_is_between_columns(tmp_path: Path, delimiter: str) -> None:
    rows = (("subject", "prompt", "target_new"), ("Emma", "{} was written by", "Wells"))
    text = "".join(delimiter.join(row) + "\r\n" for row in rows)
    assert read_edit_file(_write(tmp_path, "e.txt", text)).edits == _sent(EMMA)


def test_columns_of_lists_may_stand_several_times(tmp_path: Path) -> None:
    text = (
        "subject,prompt,target_new,paraphrases,paraphrases,neighborhood\n"
        'Emma,{} was written by,Wells,"[""The author | {}""]",Who wrote {}?,"[{""prompt"": ""Ulysses is by""}]"\n'
    )
    wanted = EMMA | {"paraphrases": ["The author | {}", "Who wrote {}?"], "neighborhood": [{"prompt": "Ulysses is by"}]}
    assert read_edit_file(_write(tmp_path, "e.csv", text)).edits == _sent(wanted)


def test_the_content_and_not_the_name_tells_what_a_file_holds(tmp_path: Path) -> None:
    assert read_edit_file(_write(tmp_path, "e.csv", json.dumps([EMMA]))).edits == _sent(EMMA)
    assert read_edit_file(_write(tmp_path, "e.jsonl", json.dumps([EMMA], indent=1))).edits == _sent(EMMA)


def test_a_format_that_is_asked_for_wins(tmp_path: Path) -> None:
    record = EMMA | {"prompt": "Emma was written by", "ground_truth": ["Austen"]}
    path = _write(tmp_path, "e.json", json.dumps([record]))
    assert read_edit_file(path).edits == _sent(EMMA | {"target_true": "Austen"})
    with pytest.raises(InvalidSettings, match="unknown field 'ground_truth'"):
        read_edit_file(path, form="errata")
    with pytest.raises(InvalidSettings, match="requested_rewrite is missing"):
        read_edit_file(path, form="counterfact")
    with pytest.raises(InvalidSettings, match="format 'xml' is not one of"):
        read_edit_file(path, form="xml")


def test_too_large_a_file_is_refused_with_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editing_core.formats.lines.MOST_BYTES", 1 << 20)
    path = _write(tmp_path, "e.json", "[" + " " * (1 << 20) + "]")
    assert _complaint(path) == "e.json:1: the file is larger than 1 MiB: cut it into parts"


def test_all_lines_that_have_to_be_mended_are_named_at_once(tmp_path: Path) -> None:
    bad = EMMA | {"prompt": "none"}
    text = "\n".join(map(json.dumps, [bad, EMMA, bad, bad]))
    complaint = _complaint(_write(tmp_path, "e.jsonl", text))
    assert complaint.startswith("e.jsonl:1: prompt 'none' has 0 slots")
    assert complaint.endswith("(records that cannot be used begin also on the lines 3, 4)")
    many = _complaint(_write(tmp_path, "e.jsonl", "\n".join(map(json.dumps, [bad] * 13))))
    assert many.endswith("10, 11 and 2 more)")
