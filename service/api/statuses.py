"""Which error is answered with which status, and what its sender can do: one table for all of them.

An error that is not in the table may carry ``status_hint`` (errors of ``service.generation``); one that has neither is
a fault of Errata itself and is answered 500.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from editing_core import errors as core
from editing_core.errors import ErrataError
from service.api import problems
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

RETRY_AFTER_SECONDS: dict[type[ErrataError], int] = {
    protocol.QueueFull: 5,
    protocol.LedgerDown: 2,
    problems.ServiceStopping: 2,
}
"""Where the error itself does not say how long to wait; all others are not mended by asking again."""

NEXT_STEP: dict[type[ErrataError], str] = {
    core.InvalidEdit: "Correct the named fields and send the batch again; nothing of it was taken.",
    core.EditConflict: "Leave one of the two edits out and send the batch again; nothing of it was taken.",
    core.InvalidPrompt: "Change the prompt as the detail says and ask again.",
    core.NotFound: "Check the id; GET /edits, /batches and /versions list what there is.",
    core.InvalidSettings: "Ask whoever runs this service to correct the named file or setting.",
    core.StoreError: "Ask whoever runs this service to look at its log and its data folder.",
    protocol.LedgerDown: (
        "Send the request again after the time in Retry-After; with an Idempotency-Key a batch is never taken twice."
    ),
    protocol.LedgerForgotten: (
        "Send the request again after the time in Retry-After; if this lasts, no worker is running."
    ),
    protocol.QueueFull: "Wait for the time in Retry-After and send the batch again; nothing of it was taken.",
    protocol.IdempotencyMismatch: "Use a new Idempotency-Key for a new body, or send the first body again.",
    protocol.InvalidCursor: "Begin the list again without a cursor, and use the cursors that its pages give.",
    protocol.BatchNotCancellable: "Let the batch end; an applied one is undone by promoting an older version.",
    protocol.StaleCandidate: "Post the edits again: what was computed for them is kept.",
    protocol.EditNotLive: "GET /edits/{id} says what became of it; a batch that waits can be cancelled.",
    protocol.NotACandidate: "GET /versions lists the candidates; another version goes when it is no longer kept.",
    protocol.GuardConflict: "Leave one of the two out, or take the kept one away first: DELETE /guards/{id}.",
    protocol.LostRace: "Something else changed this at the same moment: read it again, then decide.",
    problems.InvalidInput: "Correct the fields named in errors and send the request again.",
    problems.MalformedJson: "Send one JSON value in UTF-8; errors names the place where reading stopped.",
    problems.WrongMediaType: "Send the header Content-Type: application/json.",
    problems.BodyTooLarge: "Send less at once; edits can be sent in several smaller batches.",
    problems.TooManyEdits: "Send the edits in several smaller batches.",
    problems.KeyRequired: "Send Authorization: Bearer KEY; `errata keys add NAME` makes a key.",
    problems.ScopeMissing: "Use a key with the named scope; `errata keys add NAME --scope SCOPE` makes one.",
    problems.ForeignOrigin: "Ask under 127.0.0.1 or localhost, or make a key: `errata keys add NAME`.",
    problems.UnknownRoute: "See /docs for the paths that are served.",
    problems.MethodNotAllowed: "Use one of the methods in the header Allow.",
    problems.ServiceStopping: "Connect again after the time in Retry-After.",
    problems.InternalError: "Look up the request id in the service's log and report it.",
}
DEFAULT_STEP = "Change the request as the detail says and send it again."


def status_of(kind: type[ErrataError]) -> int:
    """The HTTP status that answers this kind of error."""
    for ancestor in kind.__mro__:
        if ancestor in STATUS_OF:
            return STATUS_OF[ancestor]
        own: Any = vars(ancestor).get("status_hint", vars(ancestor).get("status"))
        if isinstance(own, int):
            return own
    return INTERNAL


def next_step(kind: type[ErrataError]) -> str:
    """What the client can do about this kind of error."""
    for ancestor in kind.__mro__:
        if ancestor in NEXT_STEP:
            return NEXT_STEP[ancestor]
        if isinstance(own := vars(ancestor).get("next_step_hint"), str):
            return own
    return DEFAULT_STEP
