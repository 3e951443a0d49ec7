"""Errors in a file of edits are reported with their location, and none hides another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editing_core.errors import InvalidSettings
from editing_core.formats.lines import read_lines
from editing_core.formats.reading import read_edit_file
from tests.support.edit_files import EMMA, HAMLET, complaint, write


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("e.json", "[", "e.json:1: is not JSON: Expecting value at column 2"),
        ("e.json", '[\n{"subject": "x",\n}]', "e.json:3: is not JSON"),
        ("e.json", f"[{json.dumps(EMMA)}\n 2]", "e.json:2: is not JSON: Expecting ',' or ']' at column 2"),
        ("e.json", f"[\n{json.dumps(EMMA)}]\n\n x", "e.json:4: is not JSON: more text follows its end at column 2"),
        ("e.json", "[]", "e.json: contains no edits"),
        ("e.json", "", "e.json: contains no edits"),
        ("e.json", "7", "e.json:1: must be a list of edits, but is a number"),
        ("e.json", "[" * 100_000, "e.json:1: is nested too deeply"),
        ("e.json", '[\n{"subject": NaN}]', "e.json:2: is not JSON: NaN is not a number"),
        ("e.json", '[\n\n{"note": "a", "note": "b"}]', "e.json:3: names the field 'note' twice"),
        ("e.json", json.dumps([EMMA, 3]), "e.json:1: must be an object"),
        ("e.json", json.dumps([EMMA, {"subject": "x"}], indent=1), "e.json:7: field 'prompt' is missing"),
        ("e.json", json.dumps([EMMA | {"colour": 1}]), "e.json:1: unknown field 'colour'"),
        ("e.json", json.dumps([EMMA | {"subject": 1}]), "e.json:1: subject must be text, but is a number"),
        ("e.json", json.dumps([EMMA | {"subject": None}]), "e.json:1: subject must be text, but is null"),
        ("e.json", json.dumps([EMMA | {"paraphrases": "x"}]), "e.json:1: paraphrases must be a list"),
        ("e.json", json.dumps([EMMA | {"paraphrases": ["x", " "]}]), "e.json:1: paraphrases[1]: paraphrases is blank"),
        ("e.json", json.dumps([EMMA | {"neighborhood": ["x"]}]), "e.json:1: neighborhood must be a list"),
        ("e.json", json.dumps({"edits": [EMMA], "color": 1}), "e.json:1: unknown field 'color'"),
        (
            "e.json",
            json.dumps({"edits": [EMMA], "promote": "now"}),
            'e.json:1: promote must be "auto" or "manual", but is',
        ),
        ("e.json", '{"edits": [],\n"on_failure": 7}', 'e.json:2: on_failure must be "reject" or "drop", but is 7'),
        ("e.json", '{"edits": [],\n"dry_run": "yes"}', 'e.json:2: dry_run must be true or false, but is "yes"'),
        ("e.json", '{"edits": [],\n\n"remove": "e1"}', 'e.json:3: remove must be a list of edits\' ids, but is "e1"'),
        ("e.json", '{"remove": ["e1", 2]}', "e.json:1: remove must be a list of edits' ids"),
        ("e.json", '{"edits":\n[],\n"edits": []}', "e.json:3: names the field 'edits' twice"),
        ("e.json", '{"on_failure": "drop",\n"edits": 7}', "e.json:2: 'edits' must be a list, but is a number"),
        ("e.json", json.dumps([{"requested_rewrite": {}}]), "e.json:1: requested_rewrite"),
        ("e.jsonl", f"{json.dumps(EMMA)}\n\n{{", "e.jsonl:3: is not JSON"),
        ("e.jsonl", f"{json.dumps(EMMA)}\n{json.dumps(EMMA | {'prompt': 'no slot'})}", "e.jsonl:2: prompt"),
        ("e.jsonl", json.dumps(EMMA | {"prompt": "{} {0.__class__}"}), "e.jsonl:1: prompt"),
        (
            "e.jsonl",
            json.dumps(EMMA | {"subject": "x" * 2_001}),
            "e.jsonl:1: subject: has 2,001 characters, and at most 2,000",
        ),
        (
            "e.jsonl",
            json.dumps(EMMA | {"note": "x" * 20_001}),
            "e.jsonl:1: note: has 20,001 characters, and at most 20,000",
        ),
        ("e.jsonl", json.dumps(EMMA | {"relation": "x" * 2_001}), "e.jsonl:1: relation: has 2,001 characters"),
        (
            "e.jsonl",
            json.dumps(EMMA | {"paraphrases": ["x"] * 101}),
            "e.jsonl:1: paraphrases has 101 items, and at most 100",
        ),
        (
            "e.jsonl",
            json.dumps(EMMA | {"neighborhood": [{"prompt": "x", "target": "x" * 2_001}]}),
            "e.jsonl:1: neighborhood[0].target: has 2,001 characters",
        ),
        ("e.jsonl", json.dumps(EMMA | {"subject": " "}), "e.jsonl:1: subject is blank"),
        ("e.jsonl", json.dumps(EMMA | {"subject": "\ud800"}), "e.jsonl:1: subject contains the lone surrogate"),
        ("e.csv", "", "e.csv: contains no edits"),
        ("e.csv", "\n \n\n", "e.csv: contains no edits"),
        ("e.json", json.dumps({"remove": ["e" * 201]}), "e.json:1: remove must be a list of edits' ids"),
        ("e.json", '{"remove": ["\\ud800"]}', "e.json:1: remove must be a list of edits' ids"),
        ("e.csv", "subject,prompt\nx,y\n", "e.csv:1: column 'target_new' is missing"),
        ("e.csv", "subject,prompt,target_new,hue\n", "e.csv:1: unknown column 'hue'"),
        ("e.csv", "subject,prompt,target_new\n", "e.csv: contains no edits"),
        ("e.csv", "\n\nsubject,prompt\n", "e.csv:3: column 'target_new' is missing"),
        ("e.csv", "\nsubject,prompt,target_new\nEmma,by,Wells\n", "e.csv:3: prompt 'by' has 0 slots"),
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
            "e.csv:2: column 4 (paraphrases): begins with [ but is not a JSON list",
        ),
    ],
)
def test_a_complaint_names_the_place(tmp_path: Path, name: str, text: str, place: str) -> None:
    assert complaint(write(tmp_path, name, text)).startswith(place)


def test_two_objects_for_one_fact_are_both_named(tmp_path: Path) -> None:
    other = EMMA | {"target_new": "Verne"}
    reported = complaint(write(tmp_path, "e.jsonl", "\n".join(map(json.dumps, [EMMA, HAMLET, other]))))
    assert reported.startswith("e.jsonl:3: gives 'Emma' the object 'Verne', but ")
    assert "e.jsonl:1 gives it 'Wells'" in reported


def test_what_is_said_twice_is_named_with_all_its_lines(tmp_path: Path) -> None:
    again = [EMMA, HAMLET, EMMA | {"note": "again"}, HAMLET | {"target_new": "Verne"}]
    reported = complaint(write(tmp_path, "e.jsonl", "\n".join(map(json.dumps, again))))
    assert reported.startswith("e.jsonl:3: says the same of 'Emma' as ")
    assert reported.endswith("e.jsonl:1: keep one of them (further invalid records begin on lines 4)")


def test_a_file_that_breaks_off_hides_no_record_before_that(tmp_path: Path) -> None:
    bad = json.dumps(EMMA | {"prompt": "none"})
    reported = complaint(write(tmp_path, "e.jsonl", f"{bad}\n{json.dumps(EMMA)}\n{bad}\n{{"))
    assert reported.startswith("e.jsonl:1: prompt 'none' has 0 slots")
    assert "on lines 3). The rest of the file was not read: " in reported
    assert "e.jsonl:4: is not JSON" in reported


@pytest.mark.parametrize("relation", [5, ["P50"], True])
def test_a_relation_of_counterfact_that_is_no_text_is_named(tmp_path: Path, relation: object) -> None:
    rewrite = {
        "prompt": "{} is by",
        "subject": "Emma",
        "target_new": {"str": "Wells"},
        "target_true": {"str": "Austen"},
    }
    records = [{"requested_rewrite": rewrite | {"relation_id": given}} for given in (None, relation)]
    reported = complaint(write(tmp_path, "e.jsonl", "\n".join(map(json.dumps, records))))
    assert reported.startswith("e.jsonl:2: requested_rewrite.relation_id must be text, but is")
    (edit,) = read_edit_file(write(tmp_path, "e.jsonl", json.dumps(records[0]))).edits
    assert "relation" not in edit, "it is the prompt, as null and empty ones are"


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(json.dumps(EMMA).encode() + b"\n\xff\n")
    assert complaint(path) == "e.jsonl:2: is not UTF-8 at byte 1: save the file as UTF-8"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none.json") == "none.json: cannot be read: No such file or directory"


BODY = '{"promote": "manual",\n "edits": [\n%s]}'


def test_a_list_names_the_line_on_which_the_record_begins(tmp_path: Path) -> None:
    bad = json.dumps(EMMA | {"prompt": "none"}, indent=2)
    for text, line in ((f"[{json.dumps(HAMLET)},\n\n  {bad}]", 3), (BODY % bad, 3)):
        assert complaint(write(tmp_path, "e.json", text)).startswith(f"e.json:{line}: prompt 'none' has 0 slots")


def test_too_large_a_file_is_refused_with_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path, "e.json", "[" + " " * (1 << 20) + "]")
    with pytest.raises(InvalidSettings) as caught:
        list(read_lines(path, max_bytes=1 << 20))
    assert caught.value.detail == f"{path}:1: the file is larger than 1 MiB: split it"


def test_all_lines_that_have_to_be_mended_are_named_at_once(tmp_path: Path) -> None:
    bad = EMMA | {"prompt": "none"}
    text = "\n".join(map(json.dumps, [bad, EMMA, bad, bad]))
    reported = complaint(write(tmp_path, "e.jsonl", text))
    assert reported.startswith("e.jsonl:1: prompt 'none' has 0 slots")
    assert reported.endswith("(further invalid records begin on lines 3, 4)")
    many = complaint(write(tmp_path, "e.jsonl", "\n".join(map(json.dumps, [bad] * 13))))
    assert many.endswith("10, 11 and 2 more)")
