"""Resolves ``min_version``: whether the served version contains a given version, or ever will.

Also looks up the digests that the ledger records for versions. Uses the files while the ledger is down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from editing_core.errors import NotFound, StoreError
from editing_core.versions.head import was_published
from editing_core.versions.layout import ORIGINAL, is_version_name
from editing_core.versions.store import VersionStore
from service.generation.errors import VersionUnavailable
from service.generation.versions.resident import ResidentVersions
from service.generation.versions.watcher import PointerWatcher
from service.ledger_calls import call_with_timeout
from service.ledger_memory import require_ledger_intact
from worker.protocol.errors import LedgerDown
from worker.protocol.ledger.ledger import Ledger

T = TypeVar("T")

MAX_CACHED_PAIRS = 10_000
"""Largest number of pairs of versions whose descent is cached."""
LEDGER_BACKOFF_SECONDS = 10.0
"""Time for which a ledger that did not answer in time is not asked again."""
DIGEST_TTL_SECONDS = 1.0
"""Time for which the ledger's digest of a version is cached."""


class MinVersionResolver:
    """Resolves ``min_version`` and looks up recorded digests."""

    def __init__(
        self,
        ledger: Ledger,
        store: VersionStore,
        residents: ResidentVersions,
        watcher: PointerWatcher,
        *,
        poll_seconds: float,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._store = store
        self._residents = residents
        self._watcher = watcher
        self._poll_seconds = poll_seconds
        self._wait_seconds = wait_seconds
        self._descents: set[tuple[str, str]] = set()
        """Pairs whose first version descends from the second. Other pairs are not cached, because they may change."""
        self._digests: dict[str, tuple[str, float]] = {}
        """Digest and look-up time by version. Entries expire, because a version may be removed."""
        self._ledger_skipped_until = 0.0
        """Time until which the files are used instead of a ledger that did not answer in time."""

    async def recorded_digest(self, version: str) -> str | None:
        """Return the digest that the version must have; None if the ledger is down and the files say it was published.

        Raises NotFound for a version that the ledger does not know (its files may belong to a commit that is running)
        or that is no longer kept.
        """
        if version == ORIGINAL:
            return None
        digest, asked_at = self._digests.get(version, (None, 0.0))
        if digest is None or self._clock() >= asked_at + DIGEST_TTL_SECONDS:
            digest = await self._ask_ledger(partial(self._recorded_digest, version, cached=digest))
            if digest is not None:
                self._digests[version] = (digest, self._clock())
        return digest

    async def _ask_ledger(self, look_up: Callable[[], T]) -> T:
        """Run a look-up in a thread. If the ledger does not answer in time, run it again with the files alone."""
        try:
            return await (asyncio.to_thread(look_up) if self._is_ledger_skipped else call_with_timeout(look_up))
        except TimeoutError:
            self._ledger_skipped_until = self._clock() + LEDGER_BACKOFF_SECONDS
        return await asyncio.to_thread(look_up)

    def _recorded_digest(self, version: str, *, cached: str | None) -> str | None:
        if not is_version_name(version):
            raise NotFound(f"there is no version {version!r}: GET /versions lists the versions that are kept")
        if self._is_ledger_down and was_published(self._store.layout, version):
            return cached
        try:
            record = self._require_ledger().versions.get(version)
        except LedgerDown:
            if not was_published(self._store.layout, version):
                raise
            return cached
        if record.removed:
            self._digests.pop(version, None)
            raise NotFound(f"version {version} is no longer kept: GET /versions lists the versions that are")
        return record.digest

    @property
    def _is_ledger_down(self) -> bool:
        """Whether the ledger has recently failed to answer. A hanging Redis would delay every answer."""
        return self._watcher.ledger_is_down or self._is_ledger_skipped

    @property
    def _is_ledger_skipped(self) -> bool:
        return self._clock() < self._ledger_skipped_until

    def _require_ledger(self) -> Ledger:
        """Return the ledger. Raises LedgerDown while it is not asked, and LedgerForgotten."""
        if self._is_ledger_skipped:
            raise LedgerDown("Redis has not answered in time; nothing was changed: retry later")
        require_ledger_intact(self._ledger, self._store.layout)
        return self._ledger

    async def wait_until_served(self, wanted: str) -> str:
        """Return the live version once it is ``wanted`` or descends from it.

        Raises NotFound for an unknown version. Raises VersionUnavailable at once if the ledger's live version does not
        descend from ``wanted``, and after ``wait_seconds`` if it does but is not served here yet.
        """
        if not is_version_name(wanted):
            raise NotFound(f"there is no version {wanted!r}: GET /versions lists the versions that are known")
        deadline = self._clock() + self._wait_seconds
        while True:
            live, state = self._residents.live, self._watcher.state
            if live is not None and await self._ask_ledger(partial(self._satisfies, live.version, wanted)):
                return live.version
            await self._ask_ledger(partial(self._require_will_be_served, wanted))
            self._watcher.nudge()
            while self._residents.live is live and self._watcher.state.wanted == state.wanted:
                if self._clock() >= deadline:
                    raise self._not_served_yet(wanted)
                await asyncio.sleep(self._poll_seconds)

    def _satisfies(self, live: str, wanted: str) -> bool:
        """Whether the version that is live here may answer.

        It may not if the ledger says that it was rolled back: a client that has just promoted ``wanted`` would get an
        answer with edits that were undone. It may if the ledger's live version is merely newer.
        """
        if live == wanted:
            return True
        if not self._descends(live, wanted):
            return False
        if self._is_ledger_down:
            return True
        try:
            return self._descends(self._require_ledger().versions.pointer().version, live)
        except LedgerDown:
            return True

    def _not_served_yet(self, wanted: str) -> VersionUnavailable:
        live, state = self._residents.live, self._watcher.state
        served = f"{live.version} is" if live else "no version is"
        why = f" ({state.problem})" if state.problem else ""
        return VersionUnavailable(
            f"{wanted} is live but not served here after {self._wait_seconds:g} s; {served} served{why}: retry later",
            loc=("min_version",),
            retry_after_seconds=1,
        )

    def _require_will_be_served(self, wanted: str) -> None:
        """Raise VersionUnavailable unless the ledger's live version is ``wanted`` or descends from it."""
        ledger = self._require_ledger()
        record, live = ledger.versions.get(wanted), ledger.versions.pointer().version
        if self._descends(live, wanted):
            return
        reasons = {
            "candidate": f"{wanted} is a candidate: promote it, or send version={wanted}",
            "discarded": f"{wanted} was discarded and will not be served: send its edits again",
        }
        rolled_back = f"{wanted} was rolled back: {live} is live and does not descend from it: send no min_version"
        raise VersionUnavailable(reasons.get(record.status, rolled_back), loc=("min_version",))

    def _descends(self, version: str, ancestor: str) -> bool:
        if ancestor in {version, ORIGINAL}:
            return True
        if (version, ancestor) in self._descents:
            return True
        if not self._look_up(version, ancestor):
            return False
        if len(self._descents) >= MAX_CACHED_PAIRS:
            self._descents.clear()
        self._descents.add((version, ancestor))
        return True

    def _look_up(self, version: str, ancestor: str) -> bool:
        if self._is_ledger_down and self._manifests_show_descent(version, ancestor):
            return True
        try:
            return self._require_ledger().versions.descends(version, ancestor)
        except LedgerDown:
            if self._manifests_show_descent(version, ancestor):
                return True
            raise

    def _manifests_show_descent(self, version: str, ancestor: str) -> bool:
        """Whether the manifests show the descent. Also False if they do not reach back far enough."""
        line: str | None = version
        while line is not None and line not in {ancestor, ORIGINAL}:
            try:
                line = self._store.read_manifest(line).parent
            except (NotFound, StoreError):
                return False
        return line == ancestor
