"""EasyEdit's records: prompts with the subject written out, and prompts whose answer must stay (``locality``).

``ground_truth`` may be a text or a list of texts, of which the first counts. Tests of what follows from an edit
(``portability``) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editing_core.edits import Edit, Neighbor
from editing_core.errors import InvalidEdit
from editing_core.formats.fields import slotted, text, texts

FIELDS = {"target_true": "ground_truth", "relation": "prompt", "paraphrases": "rephrase_prompt"}
_OWN = ("ground_truth", "rephrase_prompt", "rephrase", "locality_prompt", "locality", "portability")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like one of EasyEdit's."""
    return "prompt" in record and "target_new" in record and any(name in record for name in _OWN)


def parse(record: Mapping[str, Any]) -> Edit:
    """The record's edit; raises InvalidEdit with the field that is missing or not usable."""
    subject = text(record, "subject")
    prompt = slotted(text(record, "prompt"), subject, "prompt")
    return Edit(
        subject=subject,
        prompt=prompt,
        target_new=text(record, "target_new").strip(),
        target_true=next((old.strip() for old in texts(record, "ground_truth")), None),
        relation=prompt,
        paraphrases=texts(record, "rephrase_prompt") or texts(record, "rephrase"),
        neighborhood=(*_pairs(record), *_locality(record)),
    )


def _pairs(record: Mapping[str, Any]) -> tuple[Neighbor, ...]:
    prompts, answers = texts(record, "locality_prompt"), texts(record, "locality_ground_truth")
    if answers and len(answers) != len(prompts):
        words = f"locality_ground_truth holds {len(answers)} answers for {len(prompts)} prompts"
        raise InvalidEdit(words, loc=("locality_ground_truth",))
    return tuple(Neighbor(prompt=p, target=a) for p, a in zip(prompts, answers or [None] * len(prompts), strict=True))


def _locality(record: Mapping[str, Any]) -> tuple[Neighbor, ...]:
    """The prompts under ``locality``, whose kinds each hold a list of ``{"prompt", "ground_truth"}``."""
    kinds = record.get("locality") or {}
    if not isinstance(kinds, Mapping):
        raise InvalidEdit("locality is not an object", loc=("locality",))
    found = []
    for kind, items in kinds.items():
        for i, item in enumerate(items if isinstance(items, list) else [items]):
            if not isinstance(item, Mapping):
                raise InvalidEdit(f"locality.{kind}[{i}] is not an object", loc=("locality", kind, i))
            found.append(Neighbor(prompt=text(item, "prompt"), target=_first(item.get("ground_truth"))))
    return tuple(found)


def _first(answers: Any) -> str | None:
    """The first text of a list of lists of answers, as KnowEdit writes them."""
    while isinstance(answers, list) and answers:
        answers = answers[0]
    return answers if isinstance(answers, str) and answers else None
