"""Leases: the right to work on a unit for a short time. A growing token fences off earlier holders."""

from __future__ import annotations

from collections.abc import Sequence

from worker.protocol.entities import Lease
from worker.protocol.errors import AttemptsUsedUp, StaleLease
from worker.protocol.keys import Key
from worker.protocol.scripting.connection import Connection

_ACQUIRE = """
local unit, max_attempts = ARG.unit, ARG.max_attempts
if redis.call('EXISTS', LEASE .. unit) == 1 then return {'held', '', 0} end
local attempt = 1
if max_attempts > 0 then
  local reason = used_up(unit, max_attempts)
  if reason then return {'used up', reason, 0} end
  attempt = begin_attempt(unit)
end
local token = redis.call('INCR', TOKEN)
redis.call('SET', LEASE .. unit, token .. ' ' .. NOW .. ' ' .. ARG.holder, 'PX', ARG.ttl_ms)
return {'leased', tostring(token), attempt}
"""

_RENEW = """
if not held(ARG.unit, ARG.token) then return 0 end
return redis.call('PEXPIRE', LEASE .. ARG.unit, ARG.ttl_ms)
"""

_RELEASE = """
if not held(ARG.unit, ARG.token) then return 0 end
for _, unit in ipairs(ARG.units) do
  if ARG.error ~= '' then redis.call('HSET', ATTEMPT_ERRORS, unit, ARG.error) end
  if ARG.given_back then redis.call('HINCRBY', ATTEMPTS, unit, -1) end
end
return redis.call('DEL', LEASE .. ARG.unit)
"""

_HOLDS = "return held(ARG.unit, ARG.token) and 1 or 0"


class Leases:
    """Acquires, renews and releases leases."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(self, unit: str, *, holder: str, ttl_seconds: float, max_attempts: int | None = 3) -> Lease | None:
        """Lease a unit. Return None if another process holds it.

        Each lease counts as an attempt. Raises AttemptsUsedUp with the last reason after ``max_attempts`` unfinished
        attempts. With None, attempts are not counted here: ``begin_commit`` counts them by batch.
        """
        outcome, detail, attempt = self._connection.run(
            _ACQUIRE, unit=unit, holder=holder, ttl_ms=_milliseconds(ttl_seconds), max_attempts=max_attempts or 0
        )
        if outcome == "used up":
            raise AttemptsUsedUp(detail)
        if outcome == "held":
            return None
        return Lease(unit=unit, token=int(detail), attempt=int(attempt), ttl_seconds=ttl_seconds, holder=holder)

    def renew(self, lease: Lease) -> bool:
        """Extend the lease by ``ttl_seconds``. Return False if it has ended."""
        return bool(
            self._connection.run(_RENEW, unit=lease.unit, token=lease.fence, ttl_ms=_milliseconds(lease.ttl_seconds))
        )

    def release(
        self, lease: Lease, *, error: str | None = None, given_back: bool = False, units: Sequence[str] = ()
    ) -> bool:
        """End the lease. Return False if it had ended before.

        ``error``: why the work failed. It is reported when the attempts of ``units`` (default: the unit of the lease)
        are used up. ``given_back``: the attempt does not count.
        """
        counted = units or (lease.unit,)
        return bool(
            self._connection.run(
                _RELEASE,
                unit=lease.unit,
                token=lease.fence,
                error=error or "",
                given_back=given_back,
                units=list(counted),
            )
        )

    def holds(self, lease: Lease) -> bool:
        """Return whether the lease is still valid."""
        return bool(self._connection.run(_HOLDS, unit=lease.unit, token=lease.fence))

    def require(self, lease: Lease) -> None:
        """Raise StaleLease unless the lease is still valid."""
        if not self.holds(lease):
            raise stale(lease)

    def held_since(self, unit: str) -> str | None:
        """Return the start time of the unit's lease; None if the unit is not leased."""
        with self._connection.client() as redis:
            value = redis.get(self._connection.at(Key.LEASE, unit))
        match str(value or "").split(" ", 2):
            case [_, since, _]:
                return since
            case _:  # not leased, or leased before an upgrade
                return None

    def held(self, units: Sequence[str]) -> set[str]:
        """Return the units that are leased."""
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            for unit in units:
                pipe.exists(self._connection.at(Key.LEASE, unit))
            return {unit for unit, exists in zip(units, pipe.execute(), strict=True) if exists}


def stale(lease: Lease) -> StaleLease:
    """Return the error for work under a lease that has ended."""
    return StaleLease(f"lease {lease.token} of {lease.unit} has ended: another worker may have the work now")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
