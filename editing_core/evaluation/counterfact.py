"""Files of CounterFact records, as the authors of MEMIT publish them: one JSON list, or one record a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing_core.edits import SLOT, Edit, Neighbor, validate_edit
from editing_core.errors import InvalidEdit


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterFactRecord:
    """One record: an edit with its paraphrases and neighbours, and prompts for free text about the subject."""

    case_id: str
    edit: Edit
    generation_prompts: tuple[str, ...]


def read_counterfact(path: Path, *, limit: int | None = None) -> list[CounterFactRecord]:
    """Read the file's first ``limit`` records (None: all).

    Raises InvalidEdit that names the file, the record (its line, in a file of lines) and the field.
    """
    records: list[CounterFactRecord] = []
    for place, raw in _raw_records(path):
        if limit is not None and len(records) >= limit:
            break
        try:
            records.append(parse_record(raw))
        except InvalidEdit as error:
            name = f" (case_id {raw['case_id']!r})" if isinstance(raw, dict) and "case_id" in raw else ""
            raise InvalidEdit(f"{path}, {place}{name}: {error.detail}", loc=error.loc) from None
    if not records:
        raise InvalidEdit(f"{path} holds no records: a JSON list of CounterFact records is expected")
    return records


def parse_record(raw: Any) -> CounterFactRecord:
    """Read one record; raises InvalidEdit with the field that is missing or not usable."""
    rewrite = _field(raw, "requested_rewrite", kind=dict)
    inner = ("requested_rewrite",)
    prompt = _field(rewrite, "prompt", kind=str, within=inner)
    new = _field(rewrite, "target_new", kind=dict, within=inner)
    true = _field(rewrite, "target_true", kind=dict, within=inner)
    old_object = _field(true, "str", kind=str, within=(*inner, "target_true")).strip()
    edit = Edit(
        subject=_field(rewrite, "subject", kind=str, within=inner),
        prompt=prompt,
        target_new=_field(new, "str", kind=str, within=(*inner, "target_new")).strip(),
        target_true=old_object,
        relation=rewrite.get("relation_id") or prompt,
        paraphrases=_texts(raw, "paraphrase_prompts"),
        neighborhood=tuple(Neighbor(prompt=p, target=old_object) for p in _texts(raw, "neighborhood_prompts")),
    )
    validate_edit(edit)
    return CounterFactRecord(
        case_id=str(raw.get("case_id", "")), edit=edit, generation_prompts=_texts(raw, "generation_prompts")
    )


def is_counterfact(raw: Any) -> bool:
    """Whether a record looks like one of CounterFact's."""
    return isinstance(raw, dict) and "requested_rewrite" in raw


def _raw_records(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (
            "there is no such file" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error.strerror})"
        )
        raise InvalidEdit(f"{path}: {reason}") from None
    except UnicodeDecodeError as error:
        raise InvalidEdit(f"{path} is not UTF-8 at byte {error.start}") from None
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidEdit(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
        yield from ((f"record {number}", record) for number, record in enumerate(records, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise InvalidEdit(f"{path}, line {number}: not JSON ({error.msg})") from None


def _field(record: Any, name: str, *, kind: type, within: tuple[str, ...] = ()) -> Any:
    loc = (*within, name)
    value = record.get(name) if isinstance(record, Mapping) else None
    if value is None:
        raise InvalidEdit(f"{'.'.join(loc)} is missing", loc=loc)
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a text"
        raise InvalidEdit(f"{'.'.join(loc)} is {value!r}, not {wanted}", loc=loc)
    return value


def _texts(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = record.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidEdit(f"{name} is not a list of texts", loc=(name,))
    for i, value in enumerate(values):
        if SLOT in value:
            raise InvalidEdit(f"{name}[{i}] has a slot {SLOT!r}; CounterFact writes the subject out", loc=(name, i))
    return tuple(values)
