"""Parses a batch of edits: JSON, then types, then meaning. Each refusal names the places of its errors.

Routes parse the body outside of the event loop, because a batch may have tens of megabytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from editing_core.edits import Edit, conflicts, normalise, validate_edit
from editing_core.errors import EditConflict, InvalidEdit
from service.api.bodies import read_object
from service.api.problems.kinds import FieldError, InvalidInput, TooManyEdits
from service.api.problems.validation import invalid_input
from service.api.schemas.requests import Submission
from service.api.schemas.responses import WarningOut

MAX_LISTED = 100
"""Largest number of errors and of warnings in one response."""
TYPED_AT_ONCE = 100


class InvalidEdits(InvalidEdit):
    """Edits that cannot be used; the errors name each of them."""

    def __init__(self, detail: str, *, errors: Sequence[FieldError]) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


class ConflictingEdits(EditConflict):
    """Edits of one batch that contradict each other; the errors name each pair."""

    def __init__(self, detail: str, *, errors: Sequence[FieldError]) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


def read_submission(body: bytes, *, max_edits: int) -> Submission:
    """Parse a body as a batch of edits. Raises MalformedJson, InvalidInput or TooManyEdits."""
    document = read_object(body)
    edits = document.get("edits")
    if isinstance(edits, list) and len(edits) > max_edits:
        msg = f"{len(edits)} edits; one batch may hold {max_edits}"
        raise TooManyEdits(msg, errors=[FieldError(loc=["body", "edits"], msg=msg)])
    return _typed(document, edits if isinstance(edits, list) else [])


def _typed(document: dict[str, Any], edits: list[Any]) -> Submission:
    """Validate a few edits at a time, because one long call would block every other request."""
    typed: list[Submission] = []
    wrong: list[ErrorDetails] = []
    for start in range(0, max(1, len(edits)), TYPED_AT_ONCE):
        part = document if len(edits) <= TYPED_AT_ONCE else {**document, "edits": edits[start : start + TYPED_AT_ONCE]}
        try:
            typed.append(Submission.model_validate(part))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            wrong += [_moved(item, start) for item in found if start == 0 or item["loc"][0] == "edits"]
        if len(wrong) >= MAX_LISTED:
            break
    if wrong:
        raise invalid_input(wrong, prefix=("body",))
    return typed[0].model_copy(update={"edits": [edit for part in typed for edit in part.edits]})


def _moved(item: ErrorDetails, start: int) -> ErrorDetails:
    match item["loc"]:
        case ("edits", int(index), *rest):
            return {**item, "loc": ("edits", index + start, *rest)}
    return item


def usable_edits(submission: Submission) -> tuple[Edit, ...]:
    """Return the edits if they are valid and their subjects and relations are distinct.

    Raises InvalidInput, InvalidEdit, EditConflict.
    """
    if not submission.edits and not submission.remove:
        msg = "give at least one edit, or an id in `remove`"
        raise InvalidInput(f"body.edits: {msg}", errors=[FieldError(loc=["body", "edits"], msg=msg)])
    edits = tuple(item.to_edit() for item in submission.edits)
    _require_valid(edits)
    _require_agreement(edits)
    _require_distinct(edits)
    return edits


def _require_valid(edits: Sequence[Edit]) -> None:
    errors = []
    for i, edit in enumerate(edits):
        try:
            validate_edit(edit)
        except InvalidEdit as error:
            errors.append(FieldError(loc=["body", "edits", i, *error.loc], msg=error.detail))
    if errors:
        raise InvalidEdits(_first_of(errors), errors=errors[:MAX_LISTED])


def _require_agreement(edits: Sequence[Edit]) -> None:
    errors = []
    for i, j in conflicts(edits):
        subject, relation = edits[i].identity
        msg = (
            f"edits {i} and {j} give subject {subject!r} two objects for the relation {relation!r}: "
            f"{edits[i].target_new!r} and {edits[j].target_new!r}"
        )
        errors += [FieldError(loc=["body", "edits", k, "target_new"], msg=msg) for k in (i, j)]
    if errors:
        raise ConflictingEdits(errors[0]["msg"], errors=errors[:MAX_LISTED])


def _require_distinct(edits: Sequence[Edit]) -> None:
    first_at: dict[tuple[str, str], int] = {}
    errors = []
    for i, edit in enumerate(edits):
        j = first_at.setdefault(edit.identity, i)
        if j != i:
            msg = f"edit {i} says the same as edit {j}: send it once"
            errors.append(FieldError(loc=["body", "edits", i], msg=msg))
    if errors:
        raise InvalidEdits(_first_of(errors), errors=errors[:MAX_LISTED])


def _first_of(errors: Sequence[FieldError]) -> str:
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}{more}"


def warnings_about(edits: Sequence[Edit]) -> list[WarningOut]:
    """Return warnings about inputs that are allowed but perhaps not intended."""
    found: list[WarningOut] = []
    for i, edit in enumerate(edits):
        found += [WarningOut(loc=["body", "edits", i, name], msg=msg) for name, msg in _doubts(edit)]
        if len(found) >= MAX_LISTED:
            return found[:MAX_LISTED]
    return found


def _doubts(edit: Edit) -> list[tuple[str, str]]:
    doubts = []
    if edit.target_true is not None and normalise(edit.target_true) == normalise(edit.target_new):
        doubts.append(("target_new", "the new object is the true one: the edit changes nothing"))
    if edit.prompt != edit.prompt.rstrip():
        doubts.append(("prompt", "the prompt ends with white space: the object follows after one more space"))
    if edit.subject != edit.subject.strip():
        doubts.append(("subject", "the subject begins or ends with white space, which the prompt then contains"))
    if any("{}" not in text and edit.subject not in text for text in edit.paraphrases):
        doubts.append(("paraphrases", "a paraphrase has neither the slot {} nor the subject in it"))
    if any(edit.subject in neighbor.prompt for neighbor in edit.neighborhood):
        doubts.append(("neighborhood", "a neighbour is about the subject itself, whose answers may change"))
    return doubts


def fingerprint(submission: Submission) -> str:
    """Return the SHA-256 (hex) of the batch, independent of white space and of the order of fields."""
    digest = hashlib.sha256(submission.model_dump_json(exclude={"edits"}).encode())
    for edit in submission.edits:
        digest.update(b"\n" + edit.model_dump_json().encode())
    return digest.hexdigest()
