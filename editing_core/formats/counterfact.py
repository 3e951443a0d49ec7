"""Reads CounterFact records, as the authors of MEMIT publish them: a JSON list, or one record per line.

A neighbour's answer is the old object. The prompts for free text (``generation_prompts``) are used for evaluation only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from editing_core.edits import SLOT, Edit, Neighbor, validate_edit
from editing_core.errors import InvalidEdit
from editing_core.formats.fields import in_words_of_file, inner, text, texts
from editing_core.formats.json_records import json_rows
from editing_core.formats.lines import FileRecord, complaint, read_lines

FIELDS = {
    "subject": "requested_rewrite.subject",
    "prompt": "requested_rewrite.prompt",
    "target_new": "requested_rewrite.target_new.str",
    "target_true": "requested_rewrite.target_true.str",
    "relation": "requested_rewrite.relation_id",
    "paraphrases": "paraphrase_prompts",
    "neighborhood": "neighborhood_prompts",
}
"""Path of each part of an edit in a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterFactRecord:
    """One record: an edit with its paraphrases and neighbours, and prompts for free text about the subject."""

    case_id: str
    edit: Edit
    generation_prompts: tuple[str, ...]


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like one of CounterFact's."""
    return "requested_rewrite" in record


def parse(record: Mapping[str, Any]) -> Edit:
    """Return the record's edit. Raises InvalidEdit with the field that is missing or invalid."""
    rewrite = "requested_rewrite"
    old_object = text(record, rewrite, "target_true", "str").strip()
    prompt = text(record, rewrite, "prompt")
    return Edit(
        subject=text(record, rewrite, "subject"),
        prompt=prompt,
        target_new=text(record, rewrite, "target_new", "str").strip(),
        target_true=old_object,
        relation=_relation(record) or prompt,
        paraphrases=_written_out(record, "paraphrase_prompts"),
        neighborhood=tuple(
            Neighbor(prompt=prompt, target=old_object) for prompt in _written_out(record, "neighborhood_prompts")
        ),
    )


def read_counterfact(path: Path, *, limit: int | None = None) -> list[CounterFactRecord]:
    """Read the file's first ``limit`` records (None: all).

    Raises InvalidSettings with the file, the line and the field.
    """
    records = [_record(path, row) for row in islice(json_rows(path, read_lines(path)), limit)]
    if not records:
        raise complaint(path, None, "contains no records: write a JSON list of CounterFact records")
    return records


def _record(path: Path, row: FileRecord) -> CounterFactRecord:
    raw = row.value if isinstance(row.value, dict) else {}
    name = f" (case_id {raw['case_id']!r})" if "case_id" in raw else ""
    try:
        edit = parse(raw)
        validate_edit(edit)
        generation_prompts = _written_out(raw, "generation_prompts")
    except InvalidEdit as error:
        raise complaint(path, row.line, f"{in_words_of_file(error, FIELDS)}{name}", loc=error.loc) from None
    return CounterFactRecord(case_id=str(raw.get("case_id", "")), edit=edit, generation_prompts=generation_prompts)


def _relation(record: Mapping[str, Any]) -> str | None:
    rewrite = "requested_rewrite"
    missing = inner(record, rewrite).get("relation_id") in (None, "")
    return None if missing else text(record, rewrite, "relation_id")


def _written_out(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = texts(record, name)
    for i, value in enumerate(found):
        if SLOT in value:
            raise InvalidEdit(
                f"{name}[{i}] contains the slot {SLOT!r}: CounterFact writes the subject out", loc=(name, i)
            )
    return found
