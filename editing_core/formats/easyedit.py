"""Reads EasyEdit's records: prompts with the subject written out, and prompts with fixed answers (``locality``).

``ground_truth`` is a text or a list of texts; the first text counts. Portability tests (``portability``) are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editing_core.edits import Edit, Neighbor
from editing_core.errors import InvalidEdit
from editing_core.formats.fields import one_line, slotted, text, texts
from editing_core.formats.json_records import kind_of
from editing_core.formats.lines import field_path

FIELDS = {
    "target_true": "ground_truth",
    "relation": "prompt",
    "paraphrases": "rephrase_prompt",
    "neighborhood": "locality",
}
_OWN = ("ground_truth", "rephrase_prompt", "rephrase", "locality_prompt", "locality", "portability")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like one of EasyEdit's."""
    return "prompt" in record and "target_new" in record and any(name in record for name in _OWN)


def parse(record: Mapping[str, Any]) -> Edit:
    """Return the record's edit. Raises InvalidEdit with the field that is missing or invalid."""
    subject = text(record, "subject")
    prompt = slotted(text(record, "prompt"), subject, "prompt")
    return Edit(
        subject=subject,
        prompt=prompt,
        target_new=text(record, "target_new").strip(),
        target_true=next((old.strip() for old in _given(record, "ground_truth")), None),
        relation=prompt,
        paraphrases=_given(record, "rephrase_prompt") or _given(record, "rephrase"),
        neighborhood=(*_pairs(record), *_locality(record)),
    )


def _pairs(record: Mapping[str, Any]) -> tuple[Neighbor, ...]:
    prompts, answers = texts(record, "locality_prompt"), texts(record, "locality_ground_truth")
    if answers and len(answers) != len(prompts):
        words = f"locality_ground_truth has {len(answers)} answers for {len(prompts)} prompts"
        raise InvalidEdit(words, loc=("locality_ground_truth",))
    pairs = zip(prompts, answers or [None] * len(prompts), strict=True)
    return tuple(Neighbor(prompt=p, target=_unless_blank(a)) for p, a in pairs if _unless_blank(p))


def _locality(record: Mapping[str, Any]) -> tuple[Neighbor, ...]:
    """Return the prompts in ``locality``, an object with a list of ``{"prompt", "ground_truth"}`` per kind."""
    kinds = record.get("locality") or {}
    if not isinstance(kinds, Mapping):
        raise InvalidEdit("locality is not an object", loc=("locality",))
    found: list[Neighbor] = []
    for kind, items in kinds.items():
        listed = items if isinstance(items, list) else [] if items is None else [items]
        found += [_neighbor(item, "locality", str(kind), i) for i, item in enumerate(listed)]
    return tuple(neighbor for neighbor in found if _unless_blank(neighbor.prompt))


def _neighbor(item: object, *loc: str | int) -> Neighbor:
    if not isinstance(item, Mapping):
        raise InvalidEdit(f"{field_path(loc)} is not an object", loc=loc)
    prompt = item.get("prompt")
    if not isinstance(prompt, str):
        raise InvalidEdit(
            f"{field_path((*loc, 'prompt'))} must be text, but is {kind_of(prompt)}", loc=(*loc, "prompt")
        )
    return Neighbor(prompt=one_line(prompt), target=_first(item.get("ground_truth")))


def _first(answers: Any) -> str | None:
    """Return the first text in the nested lists of answers that KnowEdit writes."""
    while isinstance(answers, list) and answers:
        answers = answers[0]
    return _unless_blank(one_line(answers)) if isinstance(answers, str) else None


def _given(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the texts of a field without blank ones. A blank text is not a test."""
    return tuple(found for found in texts(record, name) if _unless_blank(found))


def _unless_blank(found: str | None) -> str | None:
    return found if found is not None and found.strip() else None
