"""Erases the text of an edit from the ledger.

A request records the purge. The worker erases the files, then the ledger with this module, then rewrites the log of
Redis. The purge stays pending until the last step, so an interrupted purge starts again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from editing_core.edits import Edit
from worker.protocol.audit.redaction import Needles, texts_of
from worker.protocol.errors import NotErasable
from worker.protocol.keys import Key, subject_hash
from worker.protocol.ledger.edits import Edits
from worker.protocol.scripting.connection import Connection

SCAN_AT_ONCE = 500
EMPTY = Edit(subject="", prompt="{}", target_new="", relation="")
"""The content of an erased edit."""

_ASK = """
local edit, batch = ARG.edit, ARG.batch
local row = redis.call('HGET', EDITS, edit)
if not row then return {'unknown', ''} end
if cjson.decode(row).purged then return {'done', ''} end
if redis.call('HEXISTS', PURGES, edit) == 1 then return {'asked', ''} end
local status = status_of(batch)
if status == 'candidate' then return {'candidate', redis.call('HGET', BATCH .. batch, 'version')} end
if not FINAL[status] then return {'open', status} end
local revision, live = live_version()
if redis.call('SISMEMBER', VERSION_EDITS .. live, edit) == 1 then return {'live', live} end
local doomed = {}
for _, version in ipairs(redis.call('ZRANGE', VERSIONS, 0, -1)) do
  if redis.call('SISMEMBER', VERSION_EDITS .. version, edit) == 1 then
    if redis.call('SISMEMBER', PINS, version) == 1 then return {'pinned', version} end
    if redis.call('HEXISTS', CANDIDATES, version) == 1 then return {'candidate', version} end
    doomed[#doomed + 1] = version
  end
end
local told = cjson.decode(ARG.purge)
told.versions = doomed
redis.call('HSET', PURGES, edit, cjson.encode(told))
audit('purge.asked', WHO, {{'edit', edit}, {'versions', doomed}, {'reason', ARG.reason ~= '' and ARG.reason}})
for _, version in ipairs(doomed) do
  redis.call('HSET', VERSION .. version, 'removed', NOW)
  redis.call('DEL', VERSION_EDITS .. version, VERSION_HISTORY .. version)
  audit('version.removed', WHO, {{'version', version}})
end
return {'asked', ''}
"""

_SWAP = """
if redis.call('HGET', P .. ARG.key, ARG.field) ~= ARG.before then return 0 end
redis.call('HSET', P .. ARG.key, ARG.field, ARG.after)
return 1
"""

_ERASE_ROW = """
local edit = ARG.edit
redis.call('HSET', EDITS, edit, ARG.row)
redis.call('HDEL', EDIT_REPORTS, edit)
redis.call('ZREM', SUBJECT_EDITS .. ARG.subject, edit)
for _, version in ipairs(redis.call('ZRANGE', VERSIONS, 0, -1)) do
  redis.call('SREM', VERSION_HISTORY .. version, edit)
end
return 1
"""

_END = """
local edit, fields = ARG.edit, ARG.fields
if redis.call('HDEL', PURGES, edit) == 0 then return 0 end
fields[#fields + 1] = {'edit', edit}
audit(ARG.what, WHO, fields)
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """The erasure of an edit."""

    edit: str
    state: str
    """``asked`` or ``done``."""
    at: str
    author: str | None
    hash: str
    """Sha256 (hex) over subject, prompt and new object."""
    versions: tuple[str, ...] = ()
    """Versions that are removed because they contain the edit. Known only while the state is ``asked``."""


class Erasure:
    """Records purges and erases edits from the ledger."""

    def __init__(self, connection: Connection, edits: Edits) -> None:
        self._connection = connection
        self._edits = edits

    def ask(self, edit: str, *, author: str | None, reason: str | None = None) -> Purge:
        """Request the erasure of an edit. Versions that contain it can no longer answer or be promoted.

        A repeated request changes nothing. Raises NotFound, and NotErasable if the edit is live, pending, or in a
        pinned version or a candidate.
        """
        row = self._edits.row(edit)
        if (known := self.get(edit)) is not None:
            return known
        content = Edit.from_json(row["edit"]).content_key()
        purge = {"at": self._connection.now(), "author": author, "reason": reason, "hash": content}
        text = json.dumps(purge, ensure_ascii=False)
        outcome, detail = self._connection.run(
            _ASK, edit=edit, batch=row["batch"], purge=text, reason=reason or "", who=author or ""
        )
        if outcome not in {"asked", "done"}:
            why = _REFUSALS[outcome].format(detail, batch=row["batch"], edit=edit)
            raise NotErasable(f"edit {edit} cannot be erased: {why}")
        found = self.get(edit)
        assert found is not None
        return found

    def get(self, edit: str) -> Purge | None:
        """Return the purge of an edit; None if no purge was requested."""
        with self._connection.client() as redis:
            asked, text = (
                redis.hget(self._connection.at(Key.PURGES), edit),
                redis.hget(self._connection.at(Key.EDITS), edit),
            )
        if asked is not None:
            told, state = json.loads(asked), "asked"
        elif text is not None and (told := json.loads(text).get("purged")) is not None:
            state = "done"
        else:
            return None
        versions = tuple(told.get("versions") or ())
        return Purge(edit=edit, state=state, at=told["at"], author=told["author"], hash=told["hash"], versions=versions)

    def pending(self) -> list[str]:
        """Return the edits whose erasure is pending."""
        with self._connection.client() as redis:
            return sorted(redis.hkeys(self._connection.at(Key.PURGES)))

    def needles(self, edit: str) -> Needles:
        """Return the texts of this edit that no other edit contains."""
        texts = set(texts_of(Edit.from_json(self._edits.row(edit)["edit"])))
        for other, text in self._fields(Key.EDITS):
            if other != edit:
                texts -= texts_of(Edit.from_json(json.loads(text)["edit"]))
        return Needles(edit, frozenset(texts))

    def redact_records(self, needles: Needles) -> int:
        """Remove the texts from all reports, errors and checks; return the number of changed values."""
        changed = 0
        for key in (Key.EDIT_REPORTS, Key.ATTEMPT_ERRORS):
            changed += sum(self._redact(key, "", field, text, needles) for field, text in self._fields(key))
        for batch in self._all_in(Key.BATCHES):
            changed += self._redact_hash(Key.BATCH, batch, ("report", "error"), needles)
        for version in self._ever_made():
            changed += self._redact_hash(Key.VERSION, version, ("record",), needles)
        for export in self._all_in(Key.EXPORTS):
            changed += self._redact_hash(Key.EXPORT, export, ("result", "error"), needles)
        return changed

    def erase_row(self, edit: str) -> None:
        """Keep only id, batch and content hash of the edit, and delete the idempotency keys of its batch."""
        row = self._edits.row(edit)
        with self._connection.client() as redis:
            told = json.loads(redis.hget(self._connection.at(Key.PURGES), edit))
        kept = {name: told[name] for name in ("at", "author", "hash")}
        left = {"batch": row["batch"], "edit": EMPTY.to_json(), "purged": kept}
        self._forget_requests(row["batch"])
        text = json.dumps(left, ensure_ascii=False)
        self._connection.run(_ERASE_ROW, edit=edit, row=text, subject=subject_hash(row["edit"]["subject"]))

    def end(self, edit: str, what: str, **fields: Any) -> None:
        """End a purge with the audit entry ``what``."""
        pairs = [[name, value] for name, value in fields.items() if value not in (None, [], ())]
        self._connection.run(_END, edit=edit, what=what, fields=pairs)

    def _fields(self, key: Key) -> Iterator[tuple[str, str]]:
        with self._connection.client() as redis:
            yield from redis.hscan_iter(self._connection.at(key), count=SCAN_AT_ONCE)

    def _all_in(self, key: Key) -> Iterator[str]:
        with self._connection.client() as redis:
            yield from redis.zrange(self._connection.at(key), 0, -1)

    def _ever_made(self) -> Iterator[str]:
        """Yield every version with a record, including discarded candidates."""
        with self._connection.client() as redis:
            yield from redis.hkeys(self._connection.at(Key.PARENTS))

    def _redact_hash(self, key: Key, member: str, fields: tuple[str, ...], needles: Needles) -> int:
        with self._connection.client() as redis:
            texts = redis.hmget(self._connection.at(key, member), fields)
        found = [(field, text) for field, text in zip(fields, texts, strict=True) if text]
        return sum(self._redact(key, member, field, text, needles) for field, text in found)

    def _redact(self, key: Key, member: str, field: str, text: str, needles: Needles) -> int:
        while True:
            fresh = _redacted(text, needles)
            if fresh == text or self._connection.run(
                _SWAP, key=f"{key}{member}", field=field, before=text, after=fresh
            ):
                return int(fresh != text)
            with self._connection.client() as redis:
                text = redis.hget(self._connection.at(key, member), field) or ""

    def _forget_requests(self, batch: str) -> None:
        with self._connection.client() as redis:
            for key in redis.scan_iter(match=f"{self._connection.at(Key.IDEMPOTENCY, '*')}", count=SCAN_AT_ONCE):
                if redis.hget(key, "batch") == batch:
                    redis.delete(key)


_REFUSALS = {
    "candidate": "it waits in the candidate {0}: promote or discard that first (DELETE /versions/{0})",
    "open": "its batch {batch} is {0}: cancel it (DELETE /batches/{batch}), or wait until it ends",
    "live": "it is live in {0}: remove it first (DELETE /edits/{edit}), then purge it",
    "pinned": "the pinned version {0} contains it: unpin that version first (DELETE /versions/{0}/pin)",
    "unknown": "it is gone",
}


def _redacted(text: str, needles: Needles) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return str(needles.redact(text))
    fresh = needles.redact(value)
    return text if fresh == value else json.dumps(fresh, ensure_ascii=False)
