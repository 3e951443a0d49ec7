"""What the service says of the weights that it holds in memory."""

from __future__ import annotations

from service.client.records import Record


class ResidentDigest(Record):
    """A version in the service's memory, and the digest of its matrices there."""

    version: str
    digest: str


class ResidentDigests(Record):
    """What is in the service's memory, computed when it was asked for."""

    store: str
    """Id of the store that is served."""
    live: str | None = None
    versions: list[ResidentDigest]
