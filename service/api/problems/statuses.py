"""One table with the HTTP status of each error and the next step for the client.

An error that is not in the table may have a ``status_hint`` (errors of ``service.generation``). An error without
either is a bug in Errata and is answered with 500. An error that passes by itself has ``retry_after_seconds``.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from editing_core import errors as core
from editing_core.errors import ErrataError
from service.api.problems import kinds
from worker.protocol import errors as protocol

INTERNAL = int(HTTPStatus.INTERNAL_SERVER_ERROR)

STATUS_OF: dict[type[ErrataError], int] = {
    core.InvalidEdit: 422,
    core.EditConflict: 409,
    core.InvalidPrompt: 400,
    core.InvalidSettings: 503,
    core.NotFound: 404,
    core.StoreError: 503,
    protocol.LedgerDown: 503,
    protocol.QueueFull: 429,
    protocol.IdempotencyMismatch: 422,
    protocol.InvalidCursor: 422,
    protocol.BatchNotCancellable: 409,
    protocol.NotErasable: 409,
    protocol.StaleCandidate: 409,
    protocol.EditNotLive: 409,
    protocol.NotACandidate: 409,
    protocol.GuardConflict: 409,
    protocol.LostRace: 409,
}

NEXT_STEP: dict[type[ErrataError], str] = {
    core.InvalidEdit: "Correct the named fields and send the batch again; none of it was accepted.",
    core.EditConflict: "Leave one of the two edits out and send the batch again; none of it was accepted.",
    core.InvalidPrompt: "Change the prompt as the detail says and send it again.",
    core.NotFound: "Check the id; GET /edits, /batches and /versions list those that exist.",
    core.InvalidSettings: "Ask the operator of this service to correct the named file or setting.",
    core.StoreError: "Ask the operator of this service to look at its log and its data folder.",
    protocol.LedgerDown: (
        "Send the request again after the time in Retry-After; with an Idempotency-Key a batch is never accepted twice."
    ),
    protocol.LedgerForgotten: (
        "Send the request again after the time in Retry-After; if this lasts, no worker is running."
    ),
    protocol.QueueFull: "Wait for the time in Retry-After and send the batch again; none of it was accepted.",
    protocol.IdempotencyMismatch: "Use a new Idempotency-Key for a new body, or send the first body again.",
    protocol.InvalidCursor: "Begin the list again without a cursor, and use the cursors that its pages return.",
    protocol.BatchNotCancellable: "Let the batch end; to undo an applied batch, promote an older version.",
    protocol.StaleCandidate: "Post the edits again; their computed targets are reused.",
    protocol.EditNotLive: "GET /edits/{id} says what became of it; you can cancel a batch that waits.",
    protocol.NotACandidate: "GET /versions lists the candidates; retention removes other versions.",
    protocol.GuardConflict: "Leave one of the two out, or remove the existing one first: DELETE /guards/{id}.",
    protocol.LostRace: "Another request changed this at the same moment: read it again, then decide.",
    kinds.InvalidInput: "Correct the fields named in errors and send the request again.",
    kinds.MalformedJson: "Send one JSON value in UTF-8; errors names the place at which reading stopped.",
    kinds.WrongMediaType: "Send the header Content-Type: application/json.",
    kinds.BodyTooLarge: "Send less at once; edits can be sent in several smaller batches.",
    kinds.TooManyEdits: "Send the edits in several smaller batches.",
    kinds.KeyRequired: "Send Authorization: Bearer KEY; `errata keys add NAME` creates a key.",
    kinds.ScopeMissing: "Use a key with the named scope; `errata keys add NAME --scope SCOPE` creates one.",
    kinds.ForeignOrigin: "Use 127.0.0.1 or localhost in the address, or create a key: `errata keys add NAME`.",
    kinds.UnknownRoute: "See /docs for the paths that exist.",
    kinds.MethodNotAllowed: "Use one of the methods in the header Allow.",
    kinds.ServiceStopping: "Connect again after the time in Retry-After.",
    kinds.InternalError: "Look up the request id in the service's log and report it.",
}
DEFAULT_STEP = "Change the request as the detail says and send it again."


def all_problems() -> dict[str, type[ErrataError]]:
    """Return every kind of error that this process can answer with, by slug."""
    found: dict[str, type[ErrataError]] = {}
    for kind in _descendants(ErrataError):
        if status_of(kind) != INTERNAL or kind is kinds.InternalError:
            found.setdefault(kind.slug, kind)
    return found


def _descendants(kind: type[ErrataError]) -> Iterator[type[ErrataError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def status_of(kind: type[ErrataError]) -> int:
    """Return the HTTP status for this kind of error."""
    for ancestor in kind.__mro__:
        if ancestor in STATUS_OF:
            return STATUS_OF[ancestor]
        own: Any = vars(ancestor).get("status_hint", vars(ancestor).get("status"))
        if isinstance(own, int):
            return own
    return INTERNAL


def next_step(kind: type[ErrataError]) -> str:
    """Return the next step for a client that gets this kind of error."""
    for ancestor in kind.__mro__:
        if ancestor in NEXT_STEP:
            return NEXT_STEP[ancestor]
        if isinstance(own := vars(ancestor).get("next_step_hint"), str):
            return own
    return DEFAULT_STEP
