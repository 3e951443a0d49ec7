"""The client's part for the records: the audit, what retention keeps, erasure."""

from __future__ import annotations

from collections.abc import Iterator

from service.client.base import ClientBase, json_of, part, read
from service.client.records import AuditEntry, PurgeState, Retention, Verification, Version


class Keeping(ClientBase):
    """What is kept to look back on."""

    def audit(
        self, *, edit: str | None = None, batch: str | None = None, version: str | None = None
    ) -> Iterator[AuditEntry]:
        """What was done, newest first; give at most one of the three."""
        pages = self._pages("/audit", edit=edit, batch=batch, version=version)
        return (read(AuditEntry, item) for item in pages)

    def verify_audit(self) -> Verification:
        """Whether the audit is whole, in the ledger and on disk."""
        return read(Verification, self._get("/audit/verification"))

    def retention(self) -> Retention:
        """Which versions the next commit would remove, and why the others stay."""
        return read(Retention, self._get("/retention"))

    def pin(self, version: str) -> Version:
        """Keep a version, however old it becomes."""
        return read(Version, json_of(self._transport.request("PUT", f"/versions/{part(version)}/pin", idempotent=True)))

    def unpin(self, version: str) -> Version:
        """Let retention decide about a version again."""
        path = f"/versions/{part(version)}/pin"
        return read(Version, json_of(self._transport.request("DELETE", path, idempotent=True)))

    def purge(self, edit_id: str, *, reason: str | None = None) -> PurgeState:
        """Erase an edit's text; asked again, it tells how far that is."""
        path = f"/edits/{part(edit_id)}/purge"
        response = self._transport.request("POST", path, idempotent=True, params={"reason": reason})
        return read(PurgeState, json_of(response))
