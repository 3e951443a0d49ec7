"""The blocking Python client of Errata's HTTP API.

    with Client("http://127.0.0.1:8000") as client:
        batch = client.submit_edits([{"subject": "Hamlet", "prompt": "{} was written by", "target_new": "Dickens"}])
        batch = client.wait_for_batch(batch.id)
        generation = client.generate("The author of Hamlet is", min_version=batch.version)

``service.client.async_client`` has the same methods as coroutines. ``service.client.routes`` knows the paths,
``service.client.transport`` how requests travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from service.client import routes
from service.client.call import Listing, SchemaT
from service.client.errors import ErrataApiError
from service.client.schemas import (
    AuditEntry,
    Batch,
    Difference,
    EditInput,
    EditRecord,
    Export,
    Generation,
    GenerationPiece,
    Guard,
    GuardInput,
    Promotion,
    PurgeState,
    Readiness,
    ResidentDigests,
    Retention,
    Score,
    Verification,
    Version,
)
from service.client.streams import pieces_of
from service.client.transport import Transport
from service.client.waiting import Polling, poll


class Client:
    """One service, and the API key that its requests carry.

    All methods raise ErrataApiError if the service refuses, ServiceUnreachable if no answer comes, UnexpectedAnswer
    if the answer is not one of Errata's, and InvalidRequest for arguments that cannot be sent. Calls that do no harm
    twice are retried for about a second.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        self._transport = Transport(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self.base_url = self._transport.base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def submit_edits(
        self,
        edits: Sequence[EditInput],
        *,
        idempotency_key: str | None = None,
        wait_seconds: float | None = None,
        **options: Any,
    ) -> Batch:
        """Submit a batch; with ``wait_seconds`` the service holds its answer for up to so long until the batch ends.

        ``options`` are further fields of the body: ``remove`` (ids of edits to remove), ``promote``, ``on_failure``,
        ``dry_run``. Without an ``idempotency_key`` the client makes one, so that a retry never makes a second batch.
        """
        call = routes.submit_edits(edits, idempotency_key=idempotency_key, wait_seconds=wait_seconds, options=options)
        return self._transport.send(call)

    def batch(self, batch_id: str) -> Batch:
        """The batch with its edits as they are now."""
        return self._transport.send(routes.batch(batch_id))

    def batches(self) -> Iterator[Batch]:
        """All batches without their edits, newest first."""
        return self._items(routes.batches())

    def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel a batch that is not yet being committed."""
        return self._transport.send(routes.cancel_batch(batch_id))

    def wait_for_batch(
        self,
        batch_id: str,
        *,
        on_progress: Callable[[Batch], None] | None = None,
        timeout_seconds: float | None = None,
        poll_seconds: float = 0.3,
    ) -> Batch:
        """Poll until the batch has a final state, through an outage of up to a minute.

        ``on_progress`` gets the batch after every poll; its edits are filled in only at the end. Raises WaitTimedOut
        after ``timeout_seconds``.
        """

        def ask() -> Batch:
            state = self._transport.send(routes.batch(batch_id, with_edits=False))
            return self.batch(batch_id) if state.is_final else state

        polling = Polling(
            f"batch {batch_id}", on_progress=on_progress, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds
        )
        return poll(ask, polling)

    def edits(
        self, *, subject: str | None = None, batch: str | None = None, status: str | None = None
    ) -> Iterator[EditRecord]:
        """Accepted edits, newest first; further pages are fetched as you iterate."""
        return self._items(routes.edits(subject=subject, batch=batch, status=status))

    def edit(self, edit_id: str) -> EditRecord:
        """One edit with its report."""
        return self._transport.send(routes.edit(edit_id))

    def purge(self, edit_id: str, *, reason: str | None = None) -> PurgeState:
        """Erase an edit's text; call it again to see how far that is."""
        return self._transport.send(routes.purge(edit_id, reason=reason))

    def guards(self) -> Iterator[Guard]:
        """The facts that must not change."""
        return self._items(routes.guards())

    def add_guards(self, guards: Sequence[GuardInput]) -> list[Guard]:
        """Add facts that must not change, from the next version on; guards that exist already stay as they are."""
        return self._transport.send(routes.add_guards(guards))

    def remove_guard(self, guard_id: str) -> Guard:
        """Remove a guard."""
        return self._transport.send(routes.remove_guard(guard_id))

    def versions(self) -> Iterator[Version]:
        """All known versions, newest first."""
        return self._items(routes.versions())

    def version(self, version_id: str) -> Version:
        """One version."""
        return self._transport.send(routes.version(version_id))

    def promote(self, version_id: str) -> Promotion:
        """Make a version live; promoting an older version is the rollback."""
        return self._transport.send(routes.promote(version_id))

    def discard(self, version_id: str) -> Version:
        """Discard a candidate."""
        return self._transport.send(routes.discard(version_id))

    def pin(self, version_id: str) -> Version:
        """Exempt a version from retention."""
        return self._transport.send(routes.pin(version_id))

    def unpin(self, version_id: str) -> Version:
        """Let retention decide about a version again."""
        return self._transport.send(routes.unpin(version_id))

    def difference(self, a: str, b: str, *, prompts: Sequence[str] = ()) -> Difference:
        """The edits in force in version ``b`` and not in ``a``, the reverse, and what each version writes."""
        return self._transport.send(routes.difference(a, b, prompts=prompts))

    def resident_digests(self) -> ResidentDigests:
        """The digests of the versions in the service's memory, computed from their tensors now."""
        return self._transport.send(routes.resident_digests())

    def export(self, version_id: str, form: str, **options: Any) -> Export:
        """Start an export of a version as ``hf`` or ``peft``, or find the one that exists.

        ``options``: ``dtype``, ``max_rank``.
        """
        return self._transport.send(routes.start_export(version_id, form, options=options))

    def exports(self) -> Iterator[Export]:
        """All exports, the one requested last first."""
        return self._items(routes.exports())

    def wait_for_export(
        self,
        export_id: str,
        *,
        on_progress: Callable[[Export], None] | None = None,
        timeout_seconds: float | None = None,
        poll_seconds: float = 0.3,
    ) -> Export:
        """Poll until the export has a final state; the arguments are those of ``wait_for_batch``."""
        polling = Polling(
            f"export {export_id}", on_progress=on_progress, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds
        )
        return poll(lambda: self._transport.send(routes.export(export_id)), polling)

    def audit(
        self, *, edit: str | None = None, batch: str | None = None, version: str | None = None
    ) -> Iterator[AuditEntry]:
        """The audit, newest entry first; give at most one of the three filters."""
        return self._items(routes.audit(edit=edit, batch=batch, version=version))

    def verify_audit(self) -> Verification:
        """Whether the audit is complete and unchanged, in the ledger and on disk."""
        return self._transport.send(routes.verify_audit())

    def retention(self) -> Retention:
        """Which versions the next commit would remove, and why the others stay."""
        return self._transport.send(routes.retention())

    def generate(self, prompt: str, **options: Any) -> Generation:
        """The model's continuation of a prompt.

        ``options`` are fields of the body: ``max_new_tokens``, ``version``, ``min_version``, ``stop``, …
        """
        return self._transport.send(routes.generate(prompt, options=options))

    def stream(self, prompt: str, **options: Any) -> Iterator[GenerationPiece]:
        """The same piece by piece, as it is written; the last piece has finish reason, version and usage."""
        with self._transport.lines(routes.stream(prompt, options=options)) as lines:
            yield from pieces_of(lines)

    def score(self, prompt: str, target: str, *, version: str | None = None) -> Score:
        """The likelihood of ``target`` after ``prompt``."""
        return self._transport.send(routes.score(prompt, target, version=version))

    def readiness(self) -> Readiness:
        """Whether the service can do its work now; a 503 is returned, not raised."""
        try:
            return self._transport.send(routes.readiness())
        except ErrataApiError as error:
            return routes.not_ready(error)

    def _items(self, listing: Listing[SchemaT]) -> Iterator[SchemaT]:
        cursor: str | None = None
        while True:
            page = self._transport.send(listing.page(cursor))
            yield from page.items
            cursor = page.next
            if cursor is None:
                return
