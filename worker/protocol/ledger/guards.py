"""Stores guards. They belong to no version, apply from the next version on, and are not changed by rollbacks."""

from __future__ import annotations

import json
from collections.abc import Sequence

from editing_core.errors import NotFound
from editing_core.guards import AcceptedGuard, Guard, canonical_guards
from worker.protocol.errors import GuardConflict
from worker.protocol.keys import Key
from worker.protocol.scripting.connection import Connection

# Guards with the same id have the same prompt. If the target of any guard differs, the script stores none of them.
_ADD_GUARDS = """
for _, guard in ipairs(ARG.guards) do
  local held = redis.call('HGET', GUARDS, guard.id)
  if held and cjson.decode(held).guard.target ~= guard.target then return {'conflict', guard.id, held} end
end
local kept = {'kept'}
local added = {}
for _, guard in ipairs(ARG.guards) do
  if redis.call('HSETNX', GUARDS, guard.id, guard.record) == 1 then added[#added + 1] = guard.id end
  kept[#kept + 1] = redis.call('HGET', GUARDS, guard.id)
end
if #added > 0 then audit('guards.added', WHO, {{'guards', added}}) end
return kept
"""

_REMOVE_GUARD = """
local held = redis.call('HGET', GUARDS, ARG.guard)
if held then
  redis.call('HDEL', GUARDS, ARG.guard)
  audit('guard.removed', WHO, {{'guard', ARG.guard}})
end
return held
"""


class Guards:
    """Stores guards."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> tuple[AcceptedGuard, ...]:
        """Return all guards, ordered by id."""
        with self._connection.client() as redis:
            texts = redis.hvals(self._connection.at(Key.GUARDS))
        return canonical_guards(_read(text) for text in texts)

    def add(self, guards: Sequence[Guard], *, author: str | None) -> tuple[AcceptedGuard, ...]:
        """Store validated guards. Stored guards do not change. Stores none if it raises GuardConflict."""
        rows: list[dict[str, str]] = []
        for guard in guards:
            accepted = AcceptedGuard(guard=guard, created=self._connection.now(), author=author)
            record = json.dumps(accepted.to_json(), ensure_ascii=False)
            rows.append({"id": guard.id, "target": guard.target, "record": record})
        outcome, *found = self._connection.run(_ADD_GUARDS, guards=rows, who=author or "")
        if outcome == "conflict":
            identity, text = found
            held = _read(text).guard
            raise GuardConflict(
                f"guard {identity} says that {held.prompt!r} is followed by {held.target!r}: "
                "remove it first, or leave the new one out"
            )
        return tuple(_read(text) for text in found)

    def remove(self, guard: str, *, author: str | None) -> AcceptedGuard:
        """Remove a guard and return it. Raises NotFound."""
        text = self._connection.run(_REMOVE_GUARD, guard=guard, who=author or "")
        if text is None:
            raise NotFound(f"there is no guard {guard!r}: GET /guards lists those that are kept")
        return _read(text)


def _read(text: str) -> AcceptedGuard:
    return AcceptedGuard.from_json(json.loads(text))
