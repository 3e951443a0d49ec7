"""Erases an edit's text everywhere: first from files, then from the ledger, then from the log of Redis.

An interrupted erasure starts again. The ledger keeps the text until all other places are clean, because the search
needs it. Requires the commit lease, so no version is written meanwhile. Does not reach backups, copies elsewhere,
data that clients keep, or the memory of running processes.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from editing_core.durable import locked, sync
from editing_core.errors import ErrataError
from editing_core.versions.store import VersionStore
from worker.protocol.audit.redaction import Needles
from worker.protocol.entities import ORIGINAL
from worker.protocol.keys import COMMIT_UNIT, targets_unit
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.queue import WorkQueue
from worker.upkeep.manifests import redact_manifest, versions_with
from worker.upkeep.target_cleanup import contents_of, needed_contents, target_files

LOGGER = logging.getLogger(__name__)
Guard = Callable[[], None]
TEXT_FILES = frozenset({".json", ".jsonl", ".md", ".txt", ".csv", ".yaml"})
LARGEST_TEXT_BYTES = 256 << 20


class InUse(ErrataError):
    """A version that must be removed is being read or still needed. The purge continues later."""

    slug = "version-in-use"
    title = "The version is in use"


class Eraser:
    """Erases edits of one store."""

    def __init__(self, *, ledger: Ledger, queue: WorkQueue, store: VersionStore) -> None:
        self._ledger = ledger
        self._queue = queue
        self._store = store

    def erase(self, edit: str, *, guard: Guard) -> bool:
        """Remove the text from files and ledger. If the edit is live again, end the purge and return False.

        The caller then rewrites the log of Redis and ends the purge. Raises InUse, StoreError, and StaleLease (from
        ``guard``).
        """
        purge = self._ledger.erasure.get(edit)
        row = self._ledger.edits.row(edit)
        if purge is None or "purged" in row:
            return purge is not None
        live = self._ledger.versions.pointer().version
        if edit in self._ledger.versions.live_edit_ids(live):
            self._ledger.erasure.end(edit, "purge.refused", version=live)
            return False
        needles = self._ledger.erasure.needles(edit)
        guard()
        self._erase_files(needles, purge.hash, purge.versions, guard=guard)
        self._forget_jobs(row["batch"])
        self._ledger.erasure.redact_records(needles)
        guard()
        self._ledger.erasure.erase_row(edit)
        log_event(LOGGER, "edit.erased", edit=edit)
        return True

    def _erase_files(self, needles: Needles, content: str, versions: Sequence[str], *, guard: Guard) -> None:
        self._store.sweep_partial()
        doomed = versions_with(self._store, needles.edit)
        self._remove_versions(doomed)
        guard()
        for version in self._store.folders():
            redact_manifest(self._store, version, needles, content=content)
        if content not in needed_contents(self._ledger, self._store):
            for path in target_files(self._store):
                if content in (contents_of(path) or ()):
                    path.unlink(missing_ok=True)
        guard()
        self._remove_exports(needles, {*versions, *doomed})

    def _remove_versions(self, doomed: Sequence[str]) -> None:
        """Remove the versions whose weights contain the edit."""
        with ExitStack() as held:
            for version in doomed:
                if not held.enter_context(locked(self._store.layout.version_dir(version), wait=False)):
                    raise InUse(f"version {version} is being read, by a backup or an export: it is removed after that")
            kept = set(doomed) & self._ledger.versions.published() - set(self._ledger.publication.mark_removed(doomed))
            if kept:
                raise InUse(f"{', '.join(sorted(kept))} can't be removed while live, pinned or a candidate")
            for version in doomed:
                self._store.remove(version)

    def _remove_exports(self, needles: Needles, versions: set[str]) -> None:
        folder = self._store.layout.exports_dir
        for export in sorted(folder.iterdir()) if folder.is_dir() else ():
            if any(_names(export.name, version) for version in versions) or _quotes(export, needles):
                if export.is_dir():
                    shutil.rmtree(export)
                else:
                    export.unlink()
                sync(folder)
                log_event(LOGGER, "export.removed", export=export.name, edit=needles.edit)
                self._ledger.audit.note("export.removed", who="worker", edit=needles.edit, export=export.name)

    def _forget_jobs(self, batch: str) -> None:
        spec = self._ledger.batches.get(batch).spec
        for shard in range(-(-spec.num_edits // spec.shard_size)):
            self._queue.forget(targets_unit(batch, shard))
        self._queue.forget(COMMIT_UNIT)


def _names(name: str, version: str) -> bool:
    return version != ORIGINAL and re.search(rf"(?<![A-Za-z0-9]){version}(?![0-9])", name) is not None


def _quotes(export: Path, needles: Needles) -> bool:
    files = [export] if export.is_file() else sorted(path for path in export.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix in TEXT_FILES and path.stat().st_size <= LARGEST_TEXT_BYTES]
    return any(needles.quoted_in(path.read_text(encoding="utf-8", errors="replace")) for path in texts)
