"""Reads zsRE records of MEND, ROME and EasyEdit: a question, its answers, a paraphrase, an unrelated question.

Two readings are possible: the new object is the first of ``answers`` (the truth, as in ROME and MEMIT) or ``alt`` (a
made-up answer, as in MEND and EasyEdit). The old object is unknown: ``pred`` is the answer of another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editing_core.edits import Edit, Neighbor
from editing_core.errors import InvalidEdit
from editing_core.formats.fields import optional_text, slotted, text, texts

FIELDS = {"target_new": "answers", "prompt": "src", "relation": "src", "paraphrases": "rephrase", "neighborhood": "loc"}
ALT_FIELDS = FIELDS | {"target_new": "alt"}


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like one of zsRE's."""
    return "src" in record and ("answers" in record or "alt" in record)


def parse(record: Mapping[str, Any]) -> Edit:
    """Return the record's edit to the true answer. Raises InvalidEdit with the field that is missing or invalid."""
    answers = texts(record, "answers")
    if not answers:
        raise InvalidEdit("answers contains no text", loc=("answers",))
    return _edit(record, answers[0])


def parse_alt(record: Mapping[str, Any]) -> Edit:
    """Return the record's edit to the made-up answer. Raises InvalidEdit as ``parse`` does."""
    return _edit(record, text(record, "alt"))


def _edit(record: Mapping[str, Any], new: str) -> Edit:
    subject = text(record, "subject")
    prompt = slotted(text(record, "src"), subject, "src")
    rephrased = optional_text(record, "rephrase")
    return Edit(
        subject=subject,
        prompt=prompt,
        target_new=new.strip(),
        relation=prompt,
        paraphrases=() if rephrased is None else (rephrased,),
        neighborhood=_neighborhood(record),
    )


def _neighborhood(record: Mapping[str, Any]) -> tuple[Neighbor, ...]:
    """Return the unrelated question with the question mark that ROME and MEMIT add."""
    question = optional_text(record, "loc")
    if question is None:
        return ()
    return (Neighbor(prompt=question.rstrip(" ?") + "?", target=optional_text(record, "loc_ans")),)
