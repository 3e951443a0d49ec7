"""Rows of tokens for an edit, with the place of the subject's last token (MEMIT's look-up token).

Each row is tokenised once as a whole. The tokenizer's offsets give the subject's place, and targets are appended as
ids. Knows no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from editing_core.edits import SLOT, Edit
from editing_core.errors import InvalidEdit

KL_TEMPLATE = "{} is a"
"""Template of the row whose next-token distribution at the subject must not change (public implementation)."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One input row: token ids, and the index of the subject's last token."""

    ids: tuple[int, ...]
    lookup: int

    @property
    def up_to_lookup(self) -> tuple[int, ...]:
        """The ids up to the subject's last token. No later token changes a key."""
        return self.ids[: self.lookup + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRows:
    """All rows of one edit."""

    prompts: tuple[TokenRow, ...]
    """One per context, without the target; the bare one comes first."""
    target: tuple[int, ...]
    kl: TokenRow


def edit_rows(tokenizer: Any, edit: Edit, contexts: Sequence[str], *, max_positions: int) -> EditRows:
    """Tokenise an edit in its contexts. Raises InvalidEdit if no token ends with the subject, or a row is too long."""
    rows = EditRows(
        prompts=tuple(subject_row(tokenizer, in_context(context, edit.prompt), edit.subject) for context in contexts),
        target=tuple(target_ids(tokenizer, edit.filled_prompt, edit.target_new)),
        kl=subject_row(tokenizer, KL_TEMPLATE, edit.subject),
    )
    longest = max(len(row.ids) for row in rows.prompts) + len(rows.target)
    if longest > max_positions:
        raise InvalidEdit(
            f"prompt and target of subject {edit.subject!r} make {longest} tokens with the longest context;"
            f" the model takes {max_positions}: shorten the prompt or the target",
            loc=("prompt",),
        )
    return rows


def subject_row(tokenizer: Any, template: str, subject: str) -> TokenRow:
    """Tokenise ``template`` with ``subject`` in its slot. Raises InvalidEdit if no token ends with the subject."""
    start = template.index(SLOT)
    end = start + len(subject)
    encoded = tokenizer(
        template[:start] + subject + template[start + len(SLOT) :], return_offsets_mapping=True, verbose=False
    )
    lookup = _last_overlapping(encoded["offset_mapping"], end)
    if lookup is None:
        raise InvalidEdit(f"the tokenizer gives no token for the end of subject {subject!r}", loc=("subject",))
    last_end = encoded["offset_mapping"][lookup][1]
    if last_end > end:
        text = template[:start] + subject + template[start + len(SLOT) :]
        raise InvalidEdit(
            f"no token ends where subject {subject!r} ends: the tokenizer merges its end with what follows"
            f" ({text[end - 1 : last_end]!r}); change the prompt so that a space or another word follows the subject",
            loc=("prompt",),
        )
    return TokenRow(ids=tuple(encoded["input_ids"]), lookup=lookup)


def target_ids(tokenizer: Any, prompt: str, target: str) -> list[int]:
    """Return the ids of the target after the prompt, with one space between them unless either already has one.

    Some tokenizers put a space before every text, which would give two. Then the ids are those that follow the prompt's
    if both are tokenised together.
    """
    spaced = target if target[:1].isspace() or prompt[-1:].isspace() else f" {target}"
    ids: list[int] = tokenizer(spaced, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise InvalidEdit(f"target {target!r} has no tokens", loc=("target_new",))
    before, whole = (tokenizer(text, verbose=False)["input_ids"] for text in (prompt, prompt + spaced))
    continues: list[int] = whole[len(before) :] if whole[: len(before)] == before else []
    return continues if 0 < len(continues) < len(ids) else ids


def in_context(context: str, prompt: str) -> str:
    """Return the prompt (or template) after the context's text."""
    return context.replace(SLOT, prompt, 1)


def _last_overlapping(offsets: Sequence[tuple[int, int]], end: int) -> int | None:
    """Return the index of the last token that overlaps the character before ``end``."""
    found = [i for i, (first, last) in enumerate(offsets) if first < end and last > end - 1 and last > first]
    return found[-1] if found else None
