"""The asyncio Python client of Errata's HTTP API: the methods of ``service.client.client`` as coroutines.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        batch = await client.submit_edits([{"subject": "Hamlet", "prompt": "{} was written by",
                                            "target_new": "Dickens"}])
        batch = await client.wait_for_batch(batch.id)
        generation = await client.generate("The author of Hamlet is", min_version=batch.version)

Lists and streams are asynchronous iterators.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
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
from service.client.streams import pieces_of_async
from service.client.transport import AsyncTransport
from service.client.waiting import Polling, poll_async


class AsyncClient:
    """One service, and the API key that its requests carry.

    All methods raise ErrataApiError if the service refuses, ServiceUnreachable if no answer comes, UnexpectedAnswer
    if the answer is not one of Errata's, and InvalidRequest for arguments that cannot be sent. Calls that do no harm
    twice are retried for about a second.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        self._transport = AsyncTransport(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self.base_url = self._transport.base_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def submit_edits(
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
        return await self._transport.send(call)

    async def batch(self, batch_id: str) -> Batch:
        """The batch with its edits as they are now."""
        return await self._transport.send(routes.batch(batch_id))

    def batches(self) -> AsyncIterator[Batch]:
        """All batches without their edits, newest first."""
        return self._items(routes.batches())

    async def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel a batch that is not yet being committed."""
        return await self._transport.send(routes.cancel_batch(batch_id))

    async def wait_for_batch(
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

        async def ask() -> Batch:
            state = await self._transport.send(routes.batch(batch_id, with_edits=False))
            return await self.batch(batch_id) if state.is_final else state

        polling = Polling(
            f"batch {batch_id}", on_progress=on_progress, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds
        )
        return await poll_async(ask, polling)

    def edits(
        self, *, subject: str | None = None, batch: str | None = None, status: str | None = None
    ) -> AsyncIterator[EditRecord]:
        """Accepted edits, newest first; further pages are fetched as you iterate."""
        return self._items(routes.edits(subject=subject, batch=batch, status=status))

    async def edit(self, edit_id: str) -> EditRecord:
        """One edit with its report."""
        return await self._transport.send(routes.edit(edit_id))

    async def purge(self, edit_id: str, *, reason: str | None = None) -> PurgeState:
        """Erase an edit's text; call it again to see how far that is."""
        return await self._transport.send(routes.purge(edit_id, reason=reason))

    def guards(self) -> AsyncIterator[Guard]:
        """The facts that must not change."""
        return self._items(routes.guards())

    async def add_guards(self, guards: Sequence[GuardInput]) -> list[Guard]:
        """Add facts that must not change, from the next version on; guards that exist already stay as they are."""
        return await self._transport.send(routes.add_guards(guards))

    async def remove_guard(self, guard_id: str) -> Guard:
        """Remove a guard."""
        return await self._transport.send(routes.remove_guard(guard_id))

    def versions(self) -> AsyncIterator[Version]:
        """All known versions, newest first."""
        return self._items(routes.versions())

    async def version(self, version_id: str) -> Version:
        """One version."""
        return await self._transport.send(routes.version(version_id))

    async def promote(self, version_id: str) -> Promotion:
        """Make a version live; promoting an older version is the rollback."""
        return await self._transport.send(routes.promote(version_id))

    async def discard(self, version_id: str) -> Version:
        """Discard a candidate."""
        return await self._transport.send(routes.discard(version_id))

    async def pin(self, version_id: str) -> Version:
        """Exempt a version from retention."""
        return await self._transport.send(routes.pin(version_id))

    async def unpin(self, version_id: str) -> Version:
        """Let retention decide about a version again."""
        return await self._transport.send(routes.unpin(version_id))

    async def difference(self, a: str, b: str, *, prompts: Sequence[str] = ()) -> Difference:
        """The edits in force in version ``b`` and not in ``a``, the reverse, and what each version writes."""
        return await self._transport.send(routes.difference(a, b, prompts=prompts))

    async def resident_digests(self) -> ResidentDigests:
        """The digests of the versions in the service's memory, computed from their tensors now."""
        return await self._transport.send(routes.resident_digests())

    async def export(self, version_id: str, form: str, **options: Any) -> Export:
        """Start an export of a version as ``hf`` or ``peft``, or find the one that exists.

        ``options``: ``dtype``, ``max_rank``.
        """
        return await self._transport.send(routes.start_export(version_id, form, options=options))

    def exports(self) -> AsyncIterator[Export]:
        """All exports, the one requested last first."""
        return self._items(routes.exports())

    async def wait_for_export(
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
        return await poll_async(lambda: self._transport.send(routes.export(export_id)), polling)

    def audit(
        self, *, edit: str | None = None, batch: str | None = None, version: str | None = None
    ) -> AsyncIterator[AuditEntry]:
        """The audit, newest entry first; give at most one of the three filters."""
        return self._items(routes.audit(edit=edit, batch=batch, version=version))

    async def verify_audit(self) -> Verification:
        """Whether the audit is complete and unchanged, in the ledger and on disk."""
        return await self._transport.send(routes.verify_audit())

    async def retention(self) -> Retention:
        """Which versions the next commit would remove, and why the others stay."""
        return await self._transport.send(routes.retention())

    async def generate(self, prompt: str, **options: Any) -> Generation:
        """The model's continuation of a prompt.

        ``options`` are fields of the body: ``max_new_tokens``, ``version``, ``min_version``, ``stop``, …
        """
        return await self._transport.send(routes.generate(prompt, options=options))

    async def stream(self, prompt: str, **options: Any) -> AsyncIterator[GenerationPiece]:
        """The same piece by piece, as it is written; the last piece has finish reason, version and usage."""
        async with self._transport.lines(routes.stream(prompt, options=options)) as lines:
            async for piece in pieces_of_async(lines):
                yield piece

    async def score(self, prompt: str, target: str, *, version: str | None = None) -> Score:
        """The likelihood of ``target`` after ``prompt``."""
        return await self._transport.send(routes.score(prompt, target, version=version))

    async def readiness(self) -> Readiness:
        """Whether the service can do its work now; a 503 is returned, not raised."""
        try:
            return await self._transport.send(routes.readiness())
        except ErrataApiError as error:
            return routes.not_ready(error)

    async def _items(self, listing: Listing[SchemaT]) -> AsyncIterator[SchemaT]:
        cursor: str | None = None
        while True:
            page = await self._transport.send(listing.page(cursor))
            for item in page.items:
                yield item
            cursor = page.next
            if cursor is None:
                return
