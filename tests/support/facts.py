"""Small edits for tests of the ledger, and a shortcut to accept them."""

from __future__ import annotations

from collections.abc import Sequence

from editing_core.edits import Edit
from worker.protocol.entities import Accepted, BatchOptions
from worker.protocol.ledger.ledger import Ledger


def fact(subject: str, target: str, *, relation: str = "P103") -> Edit:
    """An edit that says that the subject's mother tongue is the target."""
    return Edit(
        subject=subject, prompt="The mother tongue of {} is", target_new=target, relation=relation, target_true="French"
    )


def take_in(
    ledger: Ledger,
    *edits: Edit,
    author: str | None = None,
    idempotency: tuple[str, str] | None = None,
    request_hash: str = "request",
    shard_size: int = 64,
    max_open: int = 100,
    options: BatchOptions | None = None,
    remove: Sequence[str] = (),
    request: str | None = None,
) -> Accepted:
    """Accept the edits as one batch."""
    return ledger.acceptance.accept(
        edits,
        author=author,
        idempotency=idempotency,
        request_hash=request_hash,
        shard_size=shard_size,
        max_open=max_open,
        options=options or BatchOptions(),
        remove=remove,
        request=request,
    )
