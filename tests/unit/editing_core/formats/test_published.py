"""Records of zsRE and EasyEdit become edits, and what is missing in one is named as the record names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing_core.errors import InvalidSettings
from editing_core.formats.reading import read_edit_file

ZSRE: dict[str, Any] = {
    "subject": "WEFS",
    "src": "When was WEFS established?",
    "pred": "1998",
    "rephrase": "When has WEFS been established?",
    "alt": "1997",
    "answers": ["1987", "87"],
    "loc": "nq question: who voiced gaston in the film",
    "loc_ans": "Richard White",
    "cond": "1998 >> 1997 || When was WEFS established?",
}
EASY: dict[str, Any] = {
    "case_id": 4,
    "prompt": "What is the twin city of Lyon? It is",
    "target_new": "Manila",
    "subject": "Lyon",
    "ground_truth": "Beirut",
    "rephrase_prompt": "Lyon's twin city is",
    "locality_prompt": "The twin city of Trieste is",
    "locality_ground_truth": "Beirut",
}


def _read(folder: Path, record: dict[str, Any], form: str | None = None) -> dict[str, Any]:
    path = folder / "records.json"
    path.write_text(json.dumps([record], indent=4))
    (edit,) = read_edit_file(path, form=form).edits
    return edit


def test_a_question_of_zsre_is_edited_to_its_first_answer(tmp_path: Path) -> None:
    assert _read(tmp_path, ZSRE) == {
        "subject": "WEFS",
        "prompt": "When was {} established?",
        "target_new": "1987",
        "paraphrases": ["When has WEFS been established?"],
        "neighborhood": [{"prompt": "nq question: who voiced gaston in the film?", "target": "Richard White"}],
    }


def test_a_question_of_zsre_is_edited_to_the_made_up_answer_when_asked_for(tmp_path: Path) -> None:
    assert _read(tmp_path, ZSRE, "zsre-alt")["target_new"] == "1997"


def test_a_record_of_easyedit_gets_its_slot_and_its_neighbour(tmp_path: Path) -> None:
    assert _read(tmp_path, EASY) == {
        "subject": "Lyon",
        "prompt": "What is the twin city of {}? It is",
        "target_new": "Manila",
        "target_true": "Beirut",
        "paraphrases": ["Lyon's twin city is"],
        "neighborhood": [{"prompt": "The twin city of Trieste is", "target": "Beirut"}],
    }


def test_lists_and_kinds_of_locality_are_read(tmp_path: Path) -> None:
    record = EASY | {
        "ground_truth": ["Beirut", "Bayreuth"],
        "locality_prompt": None,
        "locality_ground_truth": None,
        "locality": {"Relation_Specificity": [{"prompt": "Lyon lies on the", "ground_truth": [["Rhone", "Saone"]]}]},
    }
    read = _read(tmp_path, record)
    assert read["target_true"] == "Beirut"
    assert read["neighborhood"] == [{"prompt": "Lyon lies on the", "target": "Rhone"}]


@pytest.mark.parametrize(
    ("subject", "prompt", "template"),
    [
        ("Ada", "In Canada, Ada is", "In Canada, {} is"),
        ("C++", "They write C++ in", "They write {} in"),
        ("Łódź", "Łódź and Łódź lie in", "{} and Łódź lie in"),
        ("you", "Your yours is", "Your {}rs is"),
        ("Emma", "{} is by", "{} is by"),
    ],
)
def test_the_slot_stands_where_the_subject_first_is_words_of_its_own(
    tmp_path: Path, subject: str, prompt: str, template: str
) -> None:
    assert _read(tmp_path, EASY | {"subject": subject, "prompt": prompt})["prompt"] == template


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            ZSRE | {"src": "When was it established?"},
            "src 'When was it established?' does not contain the subject 'WEFS'",
        ),
        (ZSRE | {"answers": []}, "answers contains no text"),
        (ZSRE | {"answers": [" "]}, "answers: target_new is blank"),
        (ZSRE | {"subject": None}, "subject is missing"),
        (ZSRE | {"loc_ans": 3}, "loc_ans must be text, but is a number"),
        (EASY | {"target_new": ["Manila"]}, "target_new must be text, but is a list"),
        (EASY | {"locality_ground_truth": ["a", "b"]}, "locality_ground_truth has 2 answers for 1 prompts"),
        (EASY | {"locality": {"kind": [3]}}, "locality.kind[0] is not an object"),
    ],
)
def test_a_complaint_names_line_and_field_as_the_record_has_it(
    tmp_path: Path, record: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSettings) as raised:
        _read(tmp_path, record)
    assert f"records.json:2: {words}" in raised.value.detail
    assert ("(case_id 4)" in raised.value.detail) == ("case_id" in record)


def test_a_record_of_another_kind_than_the_first_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f"{json.dumps(ZSRE)}\n{json.dumps(EASY)}\n")
    with pytest.raises(InvalidSettings, match=r"records.jsonl:2: .*missing|records.jsonl:2: answers"):
        read_edit_file(path)
