"""Pins, and which versions stay, and why: the one rule, for the worker that removes and for whoever asks beforehand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from editing_core.errors import NotFound
from worker.protocol.entities import ORIGINAL, VersionRecord
from worker.protocol.keys import Key
from worker.protocol.ledger.versions import VersionReading

_PIN = """
local version = A(1)
if version ~= 'v0' then
  local known = redis.call('HMGET', VERSION .. version, 'record', 'removed')
  if not known[1] then return 'unknown' end
  if known[2] then return 'removed' end
end
if redis.call('SADD', PINS, version) == 1 then audit('version.pinned', WHO, {{'version', version}}) end
return 'pinned'
"""

_UNPIN = """
local version = A(1)
if version ~= 'v0' and redis.call('EXISTS', VERSION .. version) == 0 then return 'unknown' end
if redis.call('SREM', PINS, version) == 1 then audit('version.unpinned', WHO, {{'version', version}}) end
return 'unpinned'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """What retention says of one version."""

    version: str
    why: str | None
    """Why it stays; None: it goes."""


class Retaining(VersionReading):
    """The ledger's moves of pins, and what it says about the versions that stay."""

    def pin(self, version: str, *, author: str | None) -> None:
        """Keep a version until it is unpinned; once more changes nothing. Raises NotFound, also for a removed one."""
        outcome = self._run(_PIN, version, who=author or "")
        if outcome == "removed":
            raise NotFound(f"version {version} is no longer kept: its files are gone, so it cannot be pinned")
        _require_known(version, outcome)

    def unpin(self, version: str, *, author: str | None) -> None:
        """Let retention decide about a version again. Raises NotFound."""
        _require_known(version, self._run(_UNPIN, version, who=author or ""))

    def pinned(self) -> frozenset[str]:
        """The versions that are pinned."""
        with self._reaching() as redis:
            return frozenset(redis.smembers(self._at(Key.PINS)))

    def retention(self, *, keep: int, among: Collection[str] | None = None) -> list[Retained]:
        """What the last ``keep``, the pins and the references leave; newest first, the original left out.

        ``among``: only these versions (those that have files), as if there were no others; one that the ledger calls
        removed still goes, where a removal was broken off.
        """
        live = self.pointer().version
        with self._reaching() as redis:
            known = redis.zrevrange(self._at(Key.VERSIONS), 0, -1)
        wanted = [version for version in known if among is None or version in among]
        records = [record for record in self._version_records(wanted) if among is not None or not record.removed]
        return retention_plan(records, live=live, keep=keep)


def retention_plan(records: Sequence[VersionRecord], *, live: str, keep: int) -> list[Retained]:
    """Decide about versions; newest first."""
    numbered = sorted((record for record in records if record.id != ORIGINAL), key=lambda r: r.number, reverse=True)
    published = [record.id for record in numbered if not record.removed and record.status != "candidate"]
    last = set(published[:keep])
    candidate_of = {record.parent: record.id for record in numbered if record.status == "candidate"}

    def why(record: VersionRecord) -> str | None:
        reasons = (
            (record.id == live, "live"),
            (record.pinned, "pinned"),
            (record.status == "candidate", "a candidate"),
            (record.id in candidate_of, f"the candidate {candidate_of.get(record.id)} was made from it"),
            (record.id in last, f"one of the last {keep}"),
        )
        return None if record.removed else next((reason for holds, reason in reasons if holds), None)

    return [Retained(version=record.id, why=why(record)) for record in numbered]


def _require_known(version: str, outcome: str) -> None:
    if outcome == "unknown":
        raise NotFound(f"there is no version {version!r}: GET /versions lists those that are known")
